"""Locking and verifying through Python alone, with a copy of the miniature."""

import hashlib
import json

import pytest

import composer


def test_a_lock_holds_what_was_there(own):
    steps = []
    made = composer.lock(own, progress=steps.append)
    assert made.path == own / "bundle.lock"
    (source,) = json.loads(made.path.read_text())["sources"].values()
    assert (made.sources, made.files) == (1, len(source["files"]))
    for name, file in source["files"].items():
        data = (own / name).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (file["size"], file["sha256"])
    assert [step.stage for step in steps] == ["checking"]
    steps.clear()
    verdict = composer.verify(own, progress=steps.append)
    assert (verdict.problems, verdict.files, verdict.nbytes) == ((), made.files, made.nbytes)
    assert [step.stage for step in steps] == ["hashing"]


def test_what_differs_from_the_lock_is_found(own):
    composer.lock(own)
    path = next((own / "onnx").glob("*.onnx"))
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    found = composer.verify(own).problems
    assert {problem.code for problem in found} == {"S465"}
    assert hashlib.sha256(data).hexdigest()[:16] in found[0].causes[0]


def test_what_ships_is_not_locked_in_its_place(tmp_path):
    with pytest.raises(composer.ComposerError, match="R542 'mega-asr-mini' is not yours to lock"):
        composer.lock("mega-asr-mini")
    assert composer.lock("mega-asr-mini", output=tmp_path / "l.lock").path.is_file()
    with pytest.raises(composer.ComposerError, match="S464"):
        composer.verify("mega-asr-mini")
