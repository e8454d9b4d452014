"""What drives composer and its peers in turns; no time is asserted, and no peer is needed."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, ClassVar

import pytest

from benchmarks import packed
from benchmarks.peers import models, table
from benchmarks.peers.drivers.protocol import until
from benchmarks.peers.models.gemma4 import REAL, SMALL
from benchmarks.peers.peer import OURS, Peer, Refused
from benchmarks.weights import Sizes

ROOT = Path(__file__).parents[2]
HOME = ROOT / "benchmarks/peers"
TINY = Sizes(0, 0, 1, 64, 128, 2, 1, 32, 300, None)
DRIVER = """
from benchmarks.peers.drivers.protocol import serve

def load(folder):
    print("noise of a library")
    def run(ids):
        return [len(folder), *ids[:1 // len(ids)]]
    return run

serve(load, "numpy")
"""


def test_every_peer_is_pinned_and_has_a_driver_and_every_model_is_made() -> None:
    assert list(table.PEERS) == list(models.MAKERS)
    names = {name for peers in table.PEERS.values() for name in peers} | {*packed.SAME_FILE}
    assert {path.stem for path in (HOME / "requirements").glob("*.txt")} == {*names, OURS}
    for name in names:
        lines = (HOME / f"requirements/{name}.txt").read_text().splitlines()
        pinned = [line for line in lines if not line.startswith("--no-binary ")]
        assert all(re.match(r"[\w.\[\]-]+==[\d.]+(;.*)?$", line) for line in pinned), name
        driver = name.replace("-", "_").replace(".", "_")
        assert (HOME / f"drivers/{driver}.py").exists()


def test_setup_names_what_it_can_install() -> None:
    done = subprocess.run([HOME / "setup", "x"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("usage: benchmarks/peers/setup ")
    assert "|mlx-lm|" in done.stderr


def test_a_driver_answers_line_by_line() -> None:
    lines = [{"folder": "abc"}, {"ids": [7]}, {"ids": []}, {"ids": [8, 9]}]
    done = subprocess.run(
        [sys.executable, "-c", DRIVER],
        input="".join(json.dumps(line) + "\n" for line in lines),
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert list(answers[0]["versions"]) == ["numpy"]
    assert answers[1]["ids"] == [3, 7]
    assert answers[2]["error"].startswith("ZeroDivisionError: ")
    assert answers[3]["ids"] == [3]
    assert "noise of a library" in done.stderr


def test_an_answer_ends_before_the_first_end() -> None:
    assert until([4, 5, 1, 6], [1, 2]) == [4, 5]
    assert until([4, 5], [1]) == [4, 5]


def test_composer_is_driven_as_its_peers_are(tmp_path: Path) -> None:
    model = models.qwen3(tmp_path, sizes=TINY)
    with Peer(OURS, Path(sys.executable)) as ours:
        ours.load(folder=str(model.bundle), task=model.task, ends=list(model.ends))
        assert "mlx" in ours.versions
        ids = ours.run(ids=[5, 6, 7], tokens=4)
        assert len(ids) == 4
        assert ours.run(ids=[5, 6, 7], tokens=4) == ids
        with pytest.raises(Refused, match=r"R5\d\d"):
            ours.run(ids=[5000], tokens=4)
        ours._child.kill()
        with pytest.raises(Refused, match="it ended with status -9"):
            ours.run(ids=[5], tokens=1)


@pytest.mark.parametrize("name", table.PEERS)
@pytest.mark.slow
def test_each_model_is_written_and_composer_answers_with_it(name: str, tmp_path: Path) -> None:
    model = table.write_model(name, tmp_path, False)
    request: dict[str, Any] = {"tokens": 8, "ids": [5, 6, 7]}
    if name in table.TAKES_AUDIO:
        request = {"tokens": 8, "clip": str(models.clip(tmp_path, 1.0))}
    with Peer(OURS, Path(sys.executable)) as ours:
        ids = table.answer(ours, model, request)
    assert len(set(ids)) > 2


def test_real_gemma4_has_all_kinds_of_layers() -> None:
    for sizes in (REAL, SMALL):
        kinds = sizes["layer_types"]
        own = kinds[: -sizes["num_kv_shared_layers"]]
        assert len(kinds) == sizes["num_hidden_layers"]
        assert set(own) == set(kinds[len(own) :]) == {"sliding_attention", "full_attention"}
        assert own[-2:] == ["sliding_attention", "full_attention"]  # llama.cpp borrows from these


class Fake:
    """Stands for a process that gives these ids."""

    versions: ClassVar = {"it": "1.0"}
    peak = 2_000_000

    def __init__(self, name: str, *answers: list[int]) -> None:
        self.name, self.answers, self.requests = name, list(answers), []
        self.closed = False

    def __enter__(self) -> Fake:
        return self

    def __exit__(self, *_: object) -> None:
        self.closed = True

    def load(self, **request: Any) -> None:
        self.requests.append(request)

    def run(self, **request: Any) -> list[int]:
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


MODEL = models.Model("small", Path("bundle"), "default", Path("weights"), (1,), Path("released"))


def test_what_cannot_be_timed_is_reported(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = [1, 2, 3]
    peers = {
        "other": Fake("other", [1, 9, 3]),
        "short": Fake("short", [1]),
        "later": Fake("later", expected, [1, 2]),
    }
    monkeypatch.setattr(table, "start_peer", lambda name: peers[name])
    ours = Fake("composer", expected)
    for name in peers:
        table.compare_peer(name, ours, MODEL, {"tokens": 3}, expected, 2)  # type: ignore[arg-type]
    assert capsys.readouterr().out.splitlines() == [
        "   other: other ids after 1 of 3: not timed",
        "   short: other ids after 1 of 3: not timed",
        "   later: later gave other ids at another time",
    ]
    assert all(peer.closed for peer in peers.values())
    monkeypatch.undo()
    monkeypatch.setattr(table, "python_of", lambda name: None)
    table.compare_peer("absent", ours, MODEL, {"tokens": 3}, expected, 2)  # type: ignore[arg-type]
    shown = "   absent: not installed: benchmarks/peers/setup absent\n"
    assert capsys.readouterr().out == shown


def test_each_peer_is_timed_against_composer_and_gone_before_the_next(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made: list[Fake] = []

    def started(name: str) -> Fake:
        assert all(peer.closed for peer in made[1:])
        made.append(Fake(name, [7, 8]))
        return made[-1]

    monkeypatch.setattr(table, "start_peer", started)
    monkeypatch.setattr(table, "write_model", lambda *_: MODEL)
    table.main(["qwen3-asr", "--turns", "2", "--tokens", "2"])
    assert [peer.name for peer in made] == ["composer", "mlx-audio", "transformers"]
    folders = [peer.requests[0]["folder"] for peer in made]
    assert folders == ["bundle", "released", "weights"]
    assert all(peer.requests[0]["takes_audio"] and peer.requests[0]["length"] == 2 for peer in made)
    out = capsys.readouterr().out
    assert "-- qwen3-asr: small\n   composer gives 2 ids (2 different ones)\n" in out
    assert out.endswith("   composer: it 1.0; peak 2 MB\n")
    assert out.count(" x (") == 2


def test_an_unknown_model_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        table.main(["llama"])
    shown = "there is no model llama; there are qwen3, gemma4, qwen3-asr, gemma4-audio"
    assert shown in capsys.readouterr().err
    with pytest.raises(SystemExit):
        table.main(["qwen3", "--peers", "mlx-lm", "vllm"])
    assert "there is no peer vllm" in capsys.readouterr().err
