"""Feed one reader for some seconds, and print what it took."""

import importlib.util
import json
import resource
import sys
import tempfile
import time
from pathlib import Path

SLOWEST = 10  # seconds
MOST = 65_536  # bytes of an input


def main(name: str, seconds: int) -> None:
    """Fuzz by coverage where atheris is installed, else by Hypothesis."""
    if importlib.util.find_spec("atheris"):
        by_coverage(name, seconds)
    else:
        by_examples(name, seconds)


def by_coverage(name: str, seconds: int) -> None:
    """Let libFuzzer mutate what reaches new code; it ends the process, and prints its figures."""
    import atheris

    with atheris.instrument_imports(include=["composer", "yaml"]):
        from tests.fuzz.readers import READERS, read
    corpus = Path(tempfile.mkdtemp(prefix="composer-fuzz-"))
    for number, seed in enumerate(READERS[name].seeds):
        (corpus / f"seed{number}").write_bytes(seed)
    words = corpus.with_suffix(".dict")
    words.write_text("\n".join(f'"{_escaped(piece)}"' for piece in READERS[name].pieces))
    print(json.dumps({"by": "atheris", "baseline": _peak()}), flush=True)
    limits = [f"-max_total_time={seconds}", f"-timeout={SLOWEST}", f"-max_len={MOST}"]
    more = ["-rss_limit_mb=0", "-print_final_stats=1", f"-dict={words}"]
    more.append(f"-artifact_prefix={corpus}-fault-")  # its bytes are printed too
    atheris.Setup([sys.argv[0], *limits, *more, str(corpus)], lambda data: read(name, data))
    atheris.Fuzz()


def by_examples(name: str, seconds: int) -> None:
    """Draw examples until the time is over; a fault is shrunk and raised."""
    from hypothesis import HealthCheck, given, seed, settings

    from tests.fuzz.damage import damaged
    from tests.fuzz.readers import READERS, read

    for sound in READERS[name].seeds:
        read(name, sound)
    baseline, until, count, slowest = _peak(), time.monotonic() + seconds, 0, 0.0

    def once(data: bytes) -> None:
        nonlocal count, slowest
        began = time.monotonic()
        read(name, data)
        spent = time.monotonic() - began
        assert spent < SLOWEST, f"{spent:.1f} s"
        count, slowest = count + 1, max(slowest, spent)

    turn = 0
    while time.monotonic() < until:
        turn += 1
        quiet = settings(max_examples=200, deadline=None, database=None,
                         suppress_health_check=list(HealthCheck))  # fmt: skip
        seed(turn)(quiet(given(damaged(name))(once)))()
    found = {"by": "Hypothesis", "baseline": baseline, "inputs": count, "slowest": slowest}
    print(json.dumps({**found, "peak": _peak()}), flush=True)


def _escaped(piece: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in piece)


def _peak() -> int:
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
