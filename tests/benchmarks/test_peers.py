"""What drives composer and its peers in turns; no time is asserted, and no peer is needed."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.peers import models, table
from benchmarks.peers.drivers.protocol import until
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


def test_every_peer_is_pinned_and_has_a_driver() -> None:
    names = {name for peers in table.PEERS.values() for name in peers}
    assert {path.stem for path in (HOME / "requirements").glob("*.txt")} == {*names, table.OURS}
    for name in names:
        lines = (HOME / f"requirements/{name}.txt").read_text().splitlines()
        assert all(re.match(r"[\w.\[\]-]+==[\d.]+(;.*)?$", line) for line in lines), name
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
    model = models.qwen3(tmp_path, TINY)
    peer = table.Peer(table.OURS, Path(sys.executable))
    try:
        peer.load(folder=str(model.bundle), task=model.task, ends=list(model.ends))
        assert "mlx" in peer.versions
        ids = peer.run(ids=[5, 6, 7], tokens=4)
        assert len(ids) == 4
        assert peer.run(ids=[5, 6, 7], tokens=4) == ids
        with pytest.raises(table.Refused, match=r"R5\d\d"):
            peer.run(ids=[5000], tokens=4)
        peer._child.kill()
        with pytest.raises(table.Refused, match="it ended with status -9"):
            peer.run(ids=[5], tokens=1)
    finally:
        peer.close()


def test_what_cannot_be_timed_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def answer(*given: Any) -> list[int]:
        if given[0] == "absent":
            raise table.Refused("not installed")
        return {"same": [1, 2, 3], "other": [1, 9, 3], "short": [1]}[given[0]]

    monkeypatch.setattr(table, "_answer", answer)
    for name in ("absent", "same", "other", "short"):
        table._hold(name, None, "qwen3", {}, {}, [1, 2, 3])
    assert capsys.readouterr().out.splitlines() == [
        "   absent: not installed",
        "   other: other ids after 1 of 3: not timed",
        "   short: other ids after 1 of 3: not timed",
    ]


def test_an_unknown_model_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        table.main(["llama"])
    assert "there is no model llama; there are qwen3, gemma4, qwen3-asr" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        table.main(["qwen3", "--peers", "mlx-lm", "vllm"])
    assert "there is no peer vllm" in capsys.readouterr().err
