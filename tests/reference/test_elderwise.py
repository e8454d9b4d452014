"""The Elderwise shape through composer, stage by stage, against transformers and torch."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import composer
from composer.comparison.compare import Comparison, against_bundle
from composer.comparison.decoder_steps import with_steps
from composer.comparison.gates import Tolerance
from composer.comparison.judge import StageJudge
from tests.reference.elderwise import MANIFEST, RATE, SPECIAL, TOKENS, Elderwise
from tests.reference.qwen3_asr import make_clip

SECONDS = (0.7, 3.0, 4.9)  # one slice, a whole one, and two
GATE = StageJudge(Tolerance(l2=1e-4, peak=1e-3, gain=1e-4, angle=1e-6))
NOT_COMPARED = ("mel.mask", "asked.text", "asked.speech", "answer.finish_reason")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return tmp_path_factory.mktemp("elderwise")


@pytest.fixture(scope="module", params=[pytest.param("e2b", marks=pytest.mark.slow), "e4b"])
def elderwise(one_thread: None, request: Any, folder: Any) -> Any:
    made = Elderwise(request.param)
    home = folder / request.param
    home.mkdir()
    made.path = made.write(home)  # type: ignore[attr-defined]
    made.want = cache(lambda seconds: made.dump(make_clip(seconds), audio(seconds)))  # type: ignore[attr-defined]
    return made


def audio(seconds: float) -> composer.Audio:
    return composer.read_audio((make_clip(seconds), RATE))


def compared(elderwise: Any, seconds: float, path: Any = None) -> Comparison:
    """Compare the bundle with the reference on a clip."""
    dump = elderwise.want(seconds)
    with composer.load(path or elderwise.path) as bundle:
        bundle.checked = with_steps(bundle.checked)
        return against_bundle(dump, bundle, "default", GATE, NOT_COMPARED)


def first(found: Comparison) -> str:
    assert found.first is not None
    return found.first.name


@pytest.mark.parametrize("seconds", SECONDS)
def test_every_stage_is_that_of_the_reference(elderwise: Any, seconds: float) -> None:
    found = compared(elderwise, seconds)
    assert found.ok, [(row.name, row.own.faults, row.fed) for row in found.rows if not row.ok]
    assert len(found.rows) == 15
    # Absolutely too: stages to 1e-4, logits to 2e-4, ids exactly.
    dump = elderwise.want(seconds)
    with composer.load(elderwise.path) as bundle:
        taps = bundle.run(audio=audio(seconds), taps=True).taps
    for name, stage in dump.stages.items():
        if name in taps and getattr(stage.value, "dtype", np.dtype(object)).kind == "f":
            within = 2e-4 if name == "scores" else 1e-4
            np.testing.assert_allclose(taps[name], stage.value, atol=within, err_msg=name)
    assert taps["answer.ids"].tolist() == dump.stages["answer.ids"].value.tolist()
    assert len(taps["answer.ids"]) == TOKENS
    assert len(set(taps["answer.ids"].tolist())) > 4
    assert len(taps["heard"]) == (10 if seconds <= 3 else 20)


WRONG = {
    "scaled embeddings where unscaled belong": (
        "emits: decoder.embed",
        "emits: decoder.embed_unscaled",
        "embeds",
    ),
    "the placeholder's own per-layer row": ("value: 0", "value: 7", "text_ids"),
    "zeros for pad": ("$text_ids", "$text_ids, zero: $asked.slots", "per_layer"),
    "LoRA off": (", adapters: [speech]", "", "scores"),
    "LoRA at another scale": ("scale: 20.0", "scale: 10.0", "scores"),
    "no normalization": ("normalize: true", "normalize: false", "mel"),
    "another epsilon": ("rms_norm]", "rms_norm], rms_norm_eps: 0.01", "soft"),
    "text before speech": (
        "<|audio>{speech}<audio|>{instruction}",
        "{instruction}<|audio>{speech}<audio|>",
        "asked.ids",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_one_wrong_setting_is_named(elderwise: Any, name: str) -> None:
    old, new, stage = WRONG[name]
    text = MANIFEST.replace(old, new)
    assert text != MANIFEST
    path = elderwise.path.parent / "wrong.yaml"
    path.write_text(text)
    found = compared(elderwise, 0.7, path)
    wrong = [row.name for row in found.rows if row.fed and not row.fed.ok] or [
        row.name for row in found.rows if not row.ok
    ]
    assert wrong[0] == stage


def test_a_missing_slice_is_a_fault(elderwise: Any) -> None:
    path = elderwise.path.parent / "wrong.yaml"
    path.write_text(MANIFEST.replace(", slices: 2", ""))
    found = compared(elderwise, 4.9, path)
    assert first(found) == "mel"
    assert found.first is not None
    assert "R521" in str(found.first.own.faults)


def test_a_shuffled_projector_is_a_fault(elderwise: Any) -> None:
    file = elderwise.path.parent / "weights" / "projector" / "model.safetensors"
    true = file.read_bytes()
    tensors = load_file(file)
    tensors["layers.1.weight"] = tensors["layers.1.weight"][::-1].copy()
    try:
        save_file(tensors, file)
        assert first(compared(elderwise, 0.7)) == "soft"
    finally:
        file.write_bytes(true)


def test_the_placeholder_is_the_token_that_the_tests_think(elderwise: Any) -> None:
    assert SPECIAL.index("<|audio|>") == 7
    assert elderwise.tokenizer.token_to_id("<|audio|>") == 7


def test_the_adapter_changes_the_answer_and_leaves_no_trace(elderwise: Any) -> None:
    off = {"answer": {"adapters": ()}, "scores": {"adapters": ()}}
    with composer.load(elderwise.path) as bundle:
        plain = bundle.run(audio=audio(0.7), options=off).outputs
        adapted = bundle.run(audio=audio(0.7)).outputs
        again = bundle.run(audio=audio(0.7), options=off).outputs
    assert adapted["ids"].tolist() != plain["ids"].tolist()
    assert plain["ids"].tolist() == again["ids"].tolist()
    np.testing.assert_array_equal(plain["scores"], again["scores"])
    expected = elderwise.dump(make_clip(0.7), audio(0.7), adapted=False).stages
    assert plain["ids"].tolist() == expected["answer.ids"].value.tolist()
    np.testing.assert_allclose(plain["scores"], expected["scores"].value, atol=2e-4)


def test_the_command_says_the_same(elderwise: Any, tmp_path: Any, capsys: Any) -> None:
    from composer.cli import main

    reference = tmp_path / "reference.safetensors"
    reference.write_bytes(elderwise.want(0.7).pack())
    skips = [part for name in NOT_COMPARED for part in ("--skip", name)]
    assert main(["diff", str(reference), str(elderwise.path), *skips]) == 0
    assert "the same: " in capsys.readouterr().out
    path = elderwise.path.parent / "wrong.yaml"
    path.write_text(MANIFEST.replace("emits: decoder.embed", "emits: decoder.embed_unscaled"))
    assert main(["diff", str(reference), str(path), *skips]) == 1
    assert "the first is embeds" in capsys.readouterr().out
