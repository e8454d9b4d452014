"""Qwen3-ASR's release as it is published, without conversion, against transformers."""

from __future__ import annotations

import json
import shutil
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

import composer
from composer import Bundle, ComposerError
from tests.reference.qwen3_asr import RATE, TOKENS, Reference, make_clip, make_model, make_tokenizer
from tests.replica import split_tokenizer

SECONDS = (0.35, 3.375, 8.01, 17.5)
SHIPPED = "qwen3-asr-0-6b"


def released_name(name: str) -> str:
    name = name.replace("multi_modal_projector.linear_1.", "audio_tower.proj1.")
    name = name.replace("multi_modal_projector.linear_2.", "audio_tower.proj2.")
    name = name.replace("language_model.", "model.")
    return "thinker." + name.removeprefix("model.") if name.startswith("model.") else name


def release(folder: Path, model: Any, tokenizer: Any) -> Path:
    """Write a model under the names of the release, with the files that it has."""
    tokenizer.save_pretrained(folder)
    model.save_pretrained(folder)
    (folder / "model.safetensors").unlink()
    state = {released_name(name): value for name, value in model.state_dict().items()}
    state.pop("lm_head.weight", None)
    state["thinker.lm_head.weight"] = state["thinker.model.embed_tokens.weight"].clone()
    state = {name: value.contiguous() for name, value in state.items()}
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    audio, text = config.pop("audio_config"), config.pop("text_config")
    audio |= {"model_type": "qwen3_asr_audio_encoder", "conv_chunksize": 500}
    theta = text.pop("rope_parameters")["rope_theta"]
    text |= {
        "model_type": "qwen3",
        "rope_theta": theta,
        "rope_scaling": {
            "mrope_interleaved": True, "mrope_section": [24, 20, 20], "rope_type": "default"
        },
    }  # fmt: skip
    ends = config.pop("eos_token_id")
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": ends}))
    config["thinker_config"] = {"audio_config": audio, "text_config": text}
    (folder / "config.json").write_text(json.dumps(config))
    split_tokenizer(folder)
    return folder


class Pair:
    """The shipped bundle over a small release, and the model that it was made of."""

    def __init__(self, folder: Path) -> None:
        tokenizer = make_tokenizer()
        model = make_model(tokenizer)
        self.repo = release(folder, model, tokenizer)
        self.reference = Reference(tokenizer, model)
        self.bundle = cache(self._load)
        self.want = cache(lambda seconds, *rest: self.reference.stages(make_clip(seconds), *rest))

    def _load(self, variant: str | None = None) -> Bundle:
        return composer.load(SHIPPED, variant=variant, sources={"repo": self.repo})


@pytest.fixture(scope="module")
def pair(one_thread: None, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return Pair(tmp_path_factory.mktemp("release"))


@pytest.mark.parametrize("variant", [None, "mlx"])
@pytest.mark.parametrize("language", ["", "English"])
@pytest.mark.parametrize("seconds", SECONDS)
def test_every_stage_is_that_of_transformers(
    pair: Pair, seconds: float, language: str, variant: str | None
) -> None:
    want = pair.want(seconds, language)
    found = pair.bundle(variant).run(
        audio=(make_clip(seconds), RATE),
        language=language,
        taps=True,
        options={"answer": {"max_tokens": TOKENS}},
    )
    assert found.taps["asked.ids"].tolist() == want.ids.tolist()
    np.testing.assert_allclose(np.asarray(found.taps["soft"]), want.rows, rtol=0, atol=1e-4)
    np.testing.assert_allclose(np.asarray(found.taps["embeds"]), want.embeds, rtol=0, atol=1e-4)
    ends = pair.reference.model.config.eos_token_id
    answer = [token for token in want.answer if token not in ends]
    assert found.taps["answer.ids"].tolist() == answer


def test_nothing_of_the_release_is_left_unread(pair: Pair) -> None:
    report = composer.check(SHIPPED, sources={"repo": pair.repo})
    assert [problem.code for problem in report.problems] == ["L325", "L333"]


def test_a_stored_head_that_is_not_the_embeddings_is_refused(pair: Pair, tmp_path: Path) -> None:
    folder = tmp_path / "repo"
    shutil.copytree(pair.repo, folder)
    state = load_file(folder / "model.safetensors")
    state["thinker.lm_head.weight"][317, 5] += 1
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    for variant in (None, "mlx"):
        with pytest.raises(ComposerError) as caught:
            composer.load(SHIPPED, variant=variant, sources={"repo": folder})
        assert (
            "W242 repo/config.json: tie_word_embeddings is true but the stored head"
            in (message := str(caught.value))
            or "W242 tie_word_embeddings is true but the stored head" in message
        )
        assert "row 317 is the first that differs" in message
