"""Load and run a bundle of Mega-ASR's real size, each step in a separate process.

The weights are random and are written once into the folder given, about 2.9 GB: a float32 ONNX
encoder of 24 layers, and Qwen3-1.7B with 8-bit attention, 4-bit MLP and bfloat16 embeddings, on the
backend that the shipped bundle has here. The peak is the highest resident memory of the whole
process. It may be 1.15 times the weights as they are loaded, and 300 MB for libraries and the run.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
import wave
from pathlib import Path
from typing import Any

RATE = 16_000
COMPOSER = "from composer.cli import main; main()"


def main(arguments: list[str]) -> None:
    """Write missing weights, then check, plan and run."""
    parser = argparse.ArgumentParser(prog="scripts/bench real-size", description=__doc__)
    parser.add_argument("folder", type=Path, help="where the weights are, or are written")
    parser.add_argument("--seconds", type=float, default=10.0, help="length of the noise")
    parser.add_argument("--tokens", type=int, default=30)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--precision", default="float32", help="of the decoder")
    options = parser.parse_args(arguments)
    folder = options.folder.resolve()
    manifest = folder / "bundle.yaml"
    if not manifest.exists():
        print(
            run_measured(
                "write the weights", ["-m", "benchmarks.real_size", "--write", str(folder)]
            )[0]
        )
    steps = {
        "composer check": ["-c", COMPOSER, "check", str(manifest)],
        "composer plan": ["-c", COMPOSER, "plan", str(manifest), "--task", "transcribe"],
    }
    for name, step in steps.items():
        print(run_measured(name, step)[0])
    clip = folder / f"noise-{options.seconds:g}.wav"
    write_noise(clip, options.seconds)
    for _ in range(options.runs):
        step = ["--run", str(manifest), str(clip), options.precision, str(options.tokens)]
        step = ["-m", "benchmarks.real_size", *step]
        report(*measure_run("load and run", step, options.seconds))


def report(data: dict[str, Any], peak: int) -> None:
    """Print a run's peak memory against the limit."""
    total = sum(data["bytes"].values())
    allowed = 1.15 * total + 300e6
    verdict = "within" if peak <= allowed else "ABOVE"
    print(
        f"  peak {peak / 1e9:.2f} GB ({data['peak_load'] / 1e9:.2f} after loading) = "
        f"{peak / total:.2f} of {total / 1e9:.2f} GB of weights, "
        f"{verdict} {allowed / 1e9:.2f} GB",
        flush=True,
    )


def measure_run(name: str, step: list[str], length: float | None) -> tuple[dict[str, Any], int]:
    """Run `print_run` in a new Python; print its bytes and seconds, and return them and its peak.

    With the length of a clip the real-time factor too, and always the share that no node took.
    """
    line, made, peak = run_measured(name, step)
    data = json.loads(made.splitlines()[-1])
    weights = data["bytes"].items()
    print(line)
    print("  weights, GB:", ", ".join(f"{name} {size / 1e9:.2f}" for name, size in weights if size))
    print(f"  load {data['load']:.1f} s; " + seconds(data["load_seconds"]))
    print(f"  run {data['run']:.1f} s, {data['tokens']} tokens; " + seconds(data["timings"]))
    factor = f"real-time factor {data['run'] / length:.2f}, " if length else ""
    rest = 1 - sum(data["timings"].values()) / data["run"]
    print(f"  {factor}outside nodes {rest:.2%}", flush=True)
    return data, peak


def seconds(parts: dict[str, float]) -> str:
    """Write seconds by name."""
    return ", ".join(f"{name} {value:.2f}" for name, value in parts.items())


def run_measured(name: str, arguments: list[str]) -> tuple[str, str, int]:
    """Run a new Python; return a summary line, its output, and its peak memory in bytes.

    This process imports no array library, since a child begins with its parent's peak.
    """
    began = time.perf_counter()
    child = subprocess.Popen([sys.executable, *arguments], stdout=subprocess.PIPE, text=True)
    assert child.stdout
    with child.stdout:
        report_data = child.stdout.read()
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    spent = time.perf_counter() - began
    if child.returncode:
        raise SystemExit(f"{name} failed:\n{report_data}")
    peak = resident(usage)
    return f"{name}: {spent:.1f} s, peak {peak / 1e6:.0f} MB", report_data, peak


def resident(usage: resource.struct_rusage) -> int:
    """Return the highest resident memory in bytes; macOS reports bytes, Linux KiB."""
    return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def write_noise(path: Path, length: float) -> None:
    """Write white noise as 16-bit WAV."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(os.urandom(2 * round(length * RATE)))


def write(folder: str) -> None:
    """Write the bundle."""
    from benchmarks.weights import MEGA, write_bundle

    write_bundle(Path(folder), MEGA, "real-size", "Mega-ASR's shapes with random weights")
    manifest = Path(folder) / "bundle.yaml"
    text = manifest.read_text()
    manifest.write_text(text.replace("use: mlx.lm", "use: lm"))  # as the shipped bundle has it


def run(manifest: str, clip: str, precision: str, tokens: str) -> None:
    """Load and run one task, and print seconds and bytes."""
    print_run(manifest, "transcribe", int(tokens), {"decoder": precision}, audio=clip)


def print_run(
    name: str, task: str, tokens: int, precision: dict[str, str] | None = None, **given: Any
) -> None:
    """Load a bundle and run one of its tasks; print seconds and bytes as JSON."""
    import composer

    began = time.perf_counter()
    bundle = composer.load(name, task=task, precision=precision)
    loaded, after_load = time.perf_counter(), resident(resource.getrusage(resource.RUSAGE_SELF))
    result = bundle.run(task=task, options={"answer": {"max_tokens": tokens}}, **given)
    report_data = {
        "bytes": dict(bundle.plan(task).nbytes),
        "load": loaded - began,
        "load_seconds": bundle.load_seconds,
        "peak_load": after_load,
        "run": time.perf_counter() - loaded,
        "timings": dict(result.timings),
        "tokens": result.tokens,
    }
    bundle.close()
    print(json.dumps(report_data))


if __name__ == "__main__":
    {"--write": write, "--run": run}[sys.argv[1]](*sys.argv[2:])
