"""A Gemma-3 that has Phi-4's speech encoder runs by the ID of its repository."""

import json

import pytest
import soundfile

import composer
from composer.cli import main
from composer.sources.resolve import find_bundle
from tests.reference.gemma3_speech import TOKENS, Gemma3Speech
from tests.reference.qwen3_asr import RATE, make_clip

ID, SECONDS = "junnei/gemma-3-4b-it-speech", 2.4


@pytest.fixture(scope="module")
def theirs(one_thread):
    return Gemma3Speech()


def test_a_repository_transcribes_by_its_id_and_then_offline(
    theirs, hub, new_process, tmp_path, capsys
):
    """It is recognised and checked before it is downloaded, then locked and run without the Hub."""
    repo, want = theirs.write(tmp_path / "repo"), theirs.stages(make_clip(SECONDS))
    mirror = hub({ID: {path.name: path.read_bytes() for path in repo.iterdir()}})
    assert composer.check(ID).ok
    assert find_bundle(ID).path.stem == "gemma-3-speech"
    weights = (repo / "model.safetensors").stat().st_size
    assert sum(seen.sent for seen in mirror.requests_of("model.safetensors")) < weights
    clip = tmp_path / "clip.wav"
    soundfile.write(clip, make_clip(SECONDS), RATE, subtype="FLOAT")
    command = ["transcribe", ID, str(clip), "--set", f"answer.max_tokens={TOKENS}"]
    assert main(command) == 0
    answered = capsys.readouterr().out
    assert answered.strip() == theirs.tokenizer.decode(want["answer.ids"].tolist()).strip()
    assert main(["new", str(tmp_path / "mine"), "--from", ID]) == 0
    assert main(["lock", str(tmp_path / "mine")]) == 0
    locked = json.loads((tmp_path / "mine/bundle.lock").read_text())
    assert "model.safetensors" in json.dumps(locked)
    new_process(offline=True)
    capsys.readouterr()
    assert main(command) == 0
    assert capsys.readouterr().out == answered
