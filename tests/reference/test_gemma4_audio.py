"""Gemma-4's hearing by the shipped manifest, stage by stage, against transformers."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest

import composer
from composer.comparison.compare import Comparison, against_bundle
from composer.comparison.decoder_steps import with_steps
from composer.comparison.gates import Tolerance
from composer.comparison.judge import StageJudge
from composer.sources.shipped import shipped_folder
from tests.reference.gemma4_audio import INSTRUCTION, TOKENS, Gemma4Audio
from tests.reference.gemma4_vision import add_tower
from tests.reference.qwen3_asr import make_clip

RATE = 16_000
# One frame; mlx-vlm counts one row too many at 32,077 samples; 120 rows and one; all that fits.
SAMPLES = (161, 32_077, 77_000, pytest.param(480_000, marks=pytest.mark.slow))
GATE = StageJudge(Tolerance(l2=1e-4, peak=1e-3, gain=1e-4, angle=1e-6))
NOT_COMPARED = ("asked.text", "asked.speech", "answer.finish_reason", "words")
FEW = {"answer": {"max_tokens": TOKENS}}


@pytest.fixture(scope="module", params=["e2b", pytest.param("e4b", marks=pytest.mark.slow)])
def gemma(one_thread: None, request: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    made: Any = Gemma4Audio(request.param)
    made.name = f"gemma-4-{request.param}"
    home = tmp_path_factory.mktemp(request.param)
    made.repo = made.write(home / "repo")
    add_tower(made.repo, request.param)
    text = (shipped_folder("bundles") / f"{made.name}.yaml").read_text()
    made.text = text.replace("max_tokens: 512", f"max_tokens: {TOKENS}")
    made.path = home / "bundle.yaml"
    made.path.write_text(made.text)
    made.want = cache(lambda samples: made.dump(clip(samples), audio(samples)))
    return made


def clip(samples: int) -> np.ndarray:
    return make_clip(samples / RATE)[:samples]


def audio(samples: int) -> composer.Audio:
    return composer.read_audio((clip(samples), RATE))


def compared(gemma: Any, samples: int, text: str | None = None) -> Comparison:
    """Compare the bundle with the reference on a clip."""
    gemma.path.write_text(text or gemma.text)
    with composer.load(gemma.path, sources={"repo": gemma.repo}) as bundle:
        bundle.checked = with_steps(bundle.checked)
        return against_bundle(gemma.want(samples), bundle, "transcribe", GATE, NOT_COMPARED)


@pytest.mark.parametrize("samples", SAMPLES)
def test_every_stage_is_that_of_transformers(gemma: Any, samples: int) -> None:
    found = compared(gemma, samples)
    assert found.ok, [(row.name, row.own.faults, row.fed) for row in found.rows if not row.ok]
    assert {row.name for row in found.rows} >= {
        "mel", "soft", "asked.ids", "embeds", "per_layer", "answer.ids", "answer_steps",
    }  # fmt: skip
    stages = gemma.want(samples).stages
    with composer.load(gemma.name, sources={"repo": gemma.repo}) as bundle:
        given = {"audio": audio(samples), "instruction": INSTRUCTION, "options": FEW}
        taps = bundle.run(task="transcribe", taps=True, **given).taps
    for name in ("mel", "soft", "embeds", "per_layer"):
        np.testing.assert_allclose(taps[name], stages[name].value, atol=1e-4, err_msg=name)
    assert taps["answer.ids"].tolist() == stages["answer.ids"].value.tolist()
    assert len(set(taps["answer.ids"].tolist())) > 4
    frames = (samples - 1) // 160
    assert len(taps["mel"]) == frames
    assert len(taps["soft"]) == taps["asked.slots"].sum() == -(-frames // 4)


WRONG = {
    "rows that the decoder is to scale": (
        "emits: decoder.embed",
        "emits: decoder.embed_unscaled",
        "embeds",
    ),
    "the placeholder's own per-layer row": ("value: 0", "value: 7", "text_ids"),
    "zeros for pad": ("{ids: $text_ids}", "{ids: $text_ids, zero: $asked.slots}", "per_layer"),
    "frames of an older preprocessor": (
        "{use: audio.usm_log_mel}",
        "{use: audio.usm_log_mel, config: {frame: 400}}",
        "mel",
    ),
    "another floor": (
        "{use: audio.usm_log_mel}",
        "{use: audio.usm_log_mel, config: {floor: 0.01}}",
        "mel",
    ),
    "speech before the text": (
        "{instruction}<|audio>{speech}<audio|>",
        "<|audio>{speech}<audio|>{instruction}",
        "asked.ids",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_one_wrong_setting_is_named(gemma: Any, name: str) -> None:
    old, new, stage = WRONG[name]
    text = gemma.text.replace(old, new)
    assert text != gemma.text
    found = compared(gemma, 32_077, text)
    wrong = [row.name for row in found.rows if row.fed and not row.fed.ok] or [
        row.name for row in found.rows if not row.ok
    ]
    assert wrong[0] == stage


def test_other_weights_in_the_tower_are_named(gemma: Any) -> None:
    from safetensors.numpy import load_file, save_file

    file = gemma.repo / "model.safetensors"
    true = file.read_bytes()
    spoiled = {
        "bounds that never bite": ("feed_forward1.ffw_layer_1.input_max", lambda x: x + 1e6),
        "a kernel the other way round": (
            "lconv1d.depthwise_conv1d.weight",
            lambda x: x[..., ::-1].copy(),
        ),
        "heads in another order": (
            "self_attn.relative_k_proj.weight",
            lambda x: x.reshape(4, -1, x.shape[1])[::-1].reshape(x.shape).copy(),
        ),
    }
    try:
        for why, (name, change) in spoiled.items():
            file.write_bytes(true)
            tensors = load_file(file)
            name = f"model.audio_tower.layers.1.{name}"
            tensors[name] = np.asarray(change(tensors[name]), np.float32)
            save_file(tensors, file, metadata={"format": "pt"})
            first = compared(gemma, 32_077).first
            assert first is not None, why
            assert first.name == "soft", why
    finally:
        file.write_bytes(true)


def test_clips_in_flight_are_what_each_is_alone(gemma: Any) -> None:
    """What mlx-vlm pads to one length it answers otherwise."""
    lengths = (9_000, 32_077, 51_201, 60_000)
    given = [{"audio": audio(samples), "instruction": INSTRUCTION} for samples in lengths]
    with composer.load(gemma.name, sources={"repo": gemma.repo}) as bundle:
        alone = [bundle.run(task="transcribe", options=FEW, **each).text for each in given]
        both = bundle.map(given, in_flight=4, task="transcribe", options=FEW)
        assert [result.text for result in both] == alone
    assert len(set(alone)) == 4


def test_long_audio_is_transcribed_in_pieces_to_its_end(gemma: Any) -> None:
    whole = audio(480_000 + 20_000)
    with composer.load(gemma.name, sources={"repo": gemma.repo}) as bundle:
        given = {"audio": whole, "only": ["mel", "soft"], "taps": ["soft"]}
        taps = bundle.run(task="transcribe", **given).taps
    rows = [len(taps[f"{number}/soft"]) for number in range(2)]
    assert max(rows) <= 750  # the tower's 30 s; the cut is where it is quietest before them
    assert 781 <= sum(rows) <= 782  # 25 a second, rounded up in each piece: all of it
