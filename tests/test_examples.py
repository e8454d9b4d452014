"""The examples of the documentation run, and do what they say."""

import importlib.util
import json
from pathlib import Path

import pytest

import composer

ROOT = Path(__file__).parent.parent
MINI = ROOT / "bundles" / "elderwise-mini"


@pytest.fixture(scope="module")
def inference():
    path = ROOT / "docs" / "examples" / "elderwise_inference.py"
    spec = importlib.util.spec_from_file_location("elderwise_inference", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


PARTS = {
    "meralion_dir": str(MINI / "speech_encoder"),
    "gemma_id": str(MINI / "decoder"),
    "projector_path": str(MINI / "projector"),
    "lora_path": str(MINI / "lora"),
    "manifest": MINI,
}


def test_the_quickstart_of_the_release(inference):
    *_, messages = map(json.loads, (MINI / "clips" / "references.jsonl").read_text().splitlines())
    clip = MINI / "clips" / messages["audio"]
    with inference.load_pipeline(**PARTS) as pipeline:
        text = inference.transcribe_with_pipeline(pipeline, clip, max_tokens=128)
        cut = inference.transcribe_with_pipeline(pipeline, clip, max_tokens=2)
    with composer.load(MINI) as bundle:
        assert text == bundle.run(task="transcribe", audio=clip).text
    assert text == messages["text"]
    assert len(cut) < len(text)


def test_an_adapter_that_is_not_the_one_asked_for(inference):
    with pytest.raises(ValueError, match=r"of rank 16 on down_proj, .*; asked for was rank 8 on"):
        inference.load_pipeline(**PARTS, lora_rank=8)
    with pytest.raises(ValueError, match=r"asked for was rank 16 on q_proj$"):
        inference.load_pipeline(**PARTS, lora_target_names=("q_proj",))


def test_parts_that_do_not_fit(inference):
    with pytest.raises(composer.ComposerError, match="W2"):
        inference.load_pipeline(**{**PARTS, "projector_path": str(MINI / "lora")})
