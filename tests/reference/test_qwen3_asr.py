"""Qwen3-ASR through composer, stage by stage, against transformers."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import composer
from composer import Bundle, ComposerError, Result
from composer.comparison.compare import Comparison, against_bundle
from composer.comparison.decoder_steps import with_steps
from composer.comparison.gates import Tolerance
from composer.comparison.judge import StageJudge
from composer.core.placement import Placement
from composer.runtime.profile import Profile
from tests.reference.qwen3_asr import (
    RATE,
    TOKENS,
    NoRestart,
    Stages,
    encode,
    exact_log_mel,
    make_bundle,
    make_clip,
)

SECONDS = (0.35, 0.61, 1.0, 3.375, 7.99, 8.0, 8.01, 9.2, 17.5)  # the attention window is 8 s
LANGUAGES = ("", "English")
ONE_THREAD = Profile(components={"encoder": Placement(threads=1)})  # faster for so small a model


class Pair:
    """The bundle and its reference, each answer computed once."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "bundle.yaml"
        self.reference = make_bundle(folder)
        self.want: Callable[..., Stages] = cache(
            lambda seconds, *settings: self.reference.stages(make_clip(seconds), *settings)
        )
        self.bundle: Callable[[str | None], Bundle] = cache(
            lambda variant: composer.load(self.path, variant=variant, profile=ONE_THREAD)
        )

    def got(self, seconds: float, variant: str | None = None, **given: Any) -> Result:
        """Run the task `score`, or another, on a clip and keep every value."""
        given = {"task": "score", "taps": True, **given}
        return self.bundle(variant).run(audio=(make_clip(seconds), RATE), **given)


@pytest.fixture(scope="module")
def pair(one_thread: None, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return Pair(tmp_path_factory.mktemp("qwen3_asr"))


def same(found: Any, expected: Any, atol: float = 0.0) -> None:
    """Demand the same dtype, shape and numbers."""
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.dtype == expected.dtype
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=0, atol=atol)


def same_features(found: np.ndarray, expected: Stages) -> None:
    same(found, expected.features[:, : expected.frames], 1e-4)
    assert not expected.features[:, expected.frames :].any()


def same_rows(found: np.ndarray, expected: Stages) -> None:
    same(found, expected.rows, 1e-4)


def same_ids(found: np.ndarray, expected: Stages) -> None:
    same(found, expected.ids)


def same_embeds(found: np.ndarray, expected: Stages) -> None:
    same(found, expected.embeds, 1e-4)


def same_logits(found: np.ndarray, expected: Stages) -> None:
    same(found, expected.logits, 2e-4)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("seconds", SECONDS)
def test_every_stage_is_that_of_transformers(pair: Pair, seconds: float, language: str) -> None:
    expected = pair.want(seconds, language)
    got = pair.got(seconds, language=language)
    same_features(got.taps["mel"], expected)
    same(got.taps["mel"], exact_log_mel(make_clip(seconds)), 1e-5)
    assert got.taps["mel.mask"].sum() == expected.frames
    same_rows(got.taps["soft"], expected)
    same_ids(got.taps["asked.ids"], expected)
    slots = expected.ids == pair.reference.processor.audio_token_id
    same(got.taps["asked.slots"], slots)
    same_embeds(got.taps["embeds"], expected)
    same(got.taps["embeds"][~slots], expected.embeds[~slots])
    same(got.taps["embeds"][slots], got.taps["soft"])
    same_logits(got.outputs["logits"], expected)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("seconds", SECONDS)
def test_greedy_ids_are_those_of_transformers(pair: Pair, seconds: float, language: str) -> None:
    expected = pair.want(seconds, language).answer
    got = pair.got(seconds, task="transcribe", language=language)
    assert got.outputs["ids"].tolist() == expected
    assert len(set(expected)) > 10, "an answer of few tokens would prove little"
    assert got.finish_reason == "length"
    assert got.text == pair.reference.processor.tokenizer.decode(expected, skip_special_tokens=True)


@pytest.mark.parametrize("seconds", [0.35, 3.375, 9.2])
def test_a_decoder_on_onnx_runtime_gives_the_same(pair: Pair, seconds: float) -> None:
    expected = pair.want(seconds, "English")
    got = pair.got(seconds, "cpu", language="English")
    same_embeds(got.taps["embeds"], expected)
    same_logits(got.outputs["logits"], expected)
    got = pair.got(seconds, "cpu", task="transcribe", language="English")
    assert got.outputs["ids"].tolist() == expected.answer


def test_context_goes_into_the_system_turn(pair: Pair) -> None:
    context = "the names: Lü, O’Neill 42"
    expected = pair.want(1.0, "German", context)
    got = pair.got(1.0, language="German", context=context)
    same_ids(got.taps["asked.ids"], expected)
    same_logits(got.outputs["logits"], expected)


def test_an_answer_stops_at_a_given_token(pair: Pair) -> None:
    whole = pair.want(1.0, "").answer
    end = whole[9]
    got = pair.got(1.0, task="transcribe", options={"answer": {"stop": (end,)}})
    assert got.outputs["ids"].tolist() == whole[: whole.index(end)]
    assert got.finish_reason == "stop"


@pytest.mark.parametrize("seconds", [0.35, 3.375, 9.2])
def test_quantized_ids_are_those_of_mlx_lm(pair: Pair, seconds: float) -> None:
    import mlx.core as mx
    from mlx_lm.generate import generate_step
    from mlx_lm.utils import load_model

    model, config = load_model(pair.path.parent / "converted/mlx/llm-mixed8_4", strict=True)
    assert {bits["bits"] for bits in config["quantization"].values() if isinstance(bits, dict)} == {
        8,
        4,
    }
    expected = pair.want(seconds, "English")
    slots = expected.ids == pair.reference.processor.audio_token_id
    got = pair.got(seconds, "mixed", task="transcribe", language="English")
    embeds = model.model.embed_tokens(mx.array(expected.ids))
    embeds[mx.array(np.flatnonzero(slots))] = mx.array(got.taps["soft"]).astype(mx.bfloat16)
    same(got.taps["embeds"], np.array(embeds.astype(mx.float32)))
    steps = generate_step(mx.array(expected.ids), model, input_embeddings=embeds, max_tokens=TOKENS)
    assert got.outputs["ids"].tolist() == [token for token, _ in steps]


# What follows is wrong on purpose: a comparison that lets it pass proves nothing.


def test_a_clip_below_half_a_second_without_its_silence_differs(pair: Pair) -> None:
    got = pair.got(0.35, "no_minimum")
    assert got.taps["mel"].shape == (128, 35)
    assert len(got.taps["soft"]) == 5, "as the model's own package has it, not transformers"
    with pytest.raises(AssertionError):
        same_rows(got.taps["soft"], pair.want(0.35, ""))
    same_rows(pair.got(1.0, "no_minimum").taps["soft"], pair.want(1.0, ""))


def test_a_frame_count_rounded_up_differs(pair: Pair) -> None:
    got = pair.got(3.375, "rounded_up")
    assert got.taps["mel"].shape[1] == pair.want(3.375, "").frames + 1
    with pytest.raises(AssertionError):
        same_features(got.taps["mel"], pair.want(3.375, ""))
    with pytest.raises(AssertionError):
        same_rows(got.taps["soft"], pair.want(3.375, ""))


def test_padding_that_counts_as_sound_differs(pair: Pair) -> None:
    got = pair.got(3.375, "padded")
    assert len(got.taps["soft"]) == 52
    with pytest.raises(AssertionError):
        same_rows(got.taps["soft"], pair.want(3.375, ""))
    same_rows(pair.got(8.0, "padded").taps["soft"], pair.want(8.0, ""))


def test_padding_without_its_mask_is_refused(pair: Pair) -> None:
    with pytest.raises(ComposerError) as error_text:
        pair.got(3.375, "padded_unmarked")
    for problem in error_text.value.problems:
        assert problem.code == "W280"
        assert problem.message == "encoder counts the padding of $mel as true frames"


def test_padding_that_is_attended_to_differs(pair: Pair) -> None:
    got = pair.got(3.375, "padded_late")
    assert len(got.taps["soft"]) == 44
    with pytest.raises(AssertionError):
        same_rows(got.taps["soft"], pair.want(3.375, ""))


@pytest.mark.parametrize("seconds", [8.01, 9.2, 17.5])
def test_attention_beyond_eight_seconds_differs(pair: Pair, seconds: float) -> None:
    state = pair.reference.model.state_dict()

    def whole(expected: Stages) -> np.ndarray:
        return encode(state, expected.features, expected.frames, n_window_infer=10_000)

    expected = pair.want(seconds, "")
    same_rows(whole(pair.want(8.0, "")), pair.want(8.0, ""))
    same_rows(encode(state, expected.features, expected.frames), expected)
    with pytest.raises(AssertionError):
        same_rows(whole(expected), expected)
    got = pair.got(seconds, feed={"soft": whole(expected)})
    with pytest.raises(AssertionError):
        same_logits(got.outputs["logits"], expected)


def test_positions_that_run_on_from_second_to_second_differ(pair: Pair) -> None:
    state = pair.reference.model.state_dict()
    short, long = pair.want(1.0, ""), pair.want(3.375, "")
    same_rows(encode(state, short.features, short.frames, NoRestart), short)
    with pytest.raises(AssertionError):
        same_rows(encode(state, long.features, long.frames, NoRestart), long)


def test_a_last_second_filled_with_silence_differs(pair: Pair) -> None:
    expected = pair.want(3.375, "")
    mel = expected.features.copy()
    mel[:, expected.frames :] = mel.min()
    with pytest.raises(AssertionError):
        same_rows(encode(pair.reference.model.state_dict(), mel, expected.frames), expected)


def fed(mel: np.ndarray) -> dict[str, np.ndarray]:
    """Return what stands in for both outputs of the features."""
    return {"mel": mel, "mel.mask": np.ones(mel.shape[1], bool)}


@pytest.mark.parametrize("seconds", [1.0, 17.5])
def test_a_frame_too_few_differs(pair: Pair, seconds: float) -> None:
    expected = pair.want(seconds, "")
    got = pair.got(seconds, feed=fed(expected.features[:, : expected.frames - 1]))
    assert got.taps["soft"].shape == expected.rows.shape, "the count alone would not tell"
    with pytest.raises(AssertionError):
        same_features(got.taps["mel"], expected)
    with pytest.raises(AssertionError):
        same_rows(got.taps["soft"], expected)


def test_a_mask_of_another_length_is_refused(pair: Pair) -> None:
    mel = pair.want(1.0, "").features[:, :99]
    with pytest.raises(ComposerError, match=r"R501 axis 0 of \$mel\.mask is 100, but 99"):
        pair.got(1.0, feed={"mel": mel})


def test_the_last_frame_kept_differs(pair: Pair) -> None:
    expected = pair.want(9.2, "")
    mel = exact_log_mel(make_clip(9.2), keep_last=True)
    same_features(mel[:, :-1], expected)
    got = pair.got(9.2, feed=fed(mel))
    with pytest.raises(AssertionError):
        same_features(got.taps["mel"], expected)
    with pytest.raises(AssertionError):
        same_rows(got.taps["soft"], expected)


@pytest.mark.parametrize("more", [-1, 1])
def test_another_number_of_placeholders_is_refused(pair: Pair, more: int) -> None:
    expected = pair.want(1.0, "")
    slots = expected.ids == pair.reference.processor.audio_token_id
    at = int(np.argmax(slots))
    ids, marks = [
        np.delete(a, at) if more < 0 else np.insert(a, at, a[at]) for a in (expected.ids, slots)
    ]
    feed = {"asked.ids": ids, "asked.slots": marks}
    length = rf"R501 axis 0 of \$asked\.speech is 33, but {33 + more} was expected"
    with pytest.raises(ComposerError, match=length):
        pair.got(1.0, feed=feed)
    with pytest.raises(ComposerError) as error_text:
        pair.got(1.0, feed={**feed, "asked.speech": marks})
    (problem,) = error_text.value.problems
    assert problem.code == "R502"
    assert problem.message == f"scatter has 13 rows of values for {13 + more} marked positions"


def test_another_language_differs(pair: Pair) -> None:
    expected, got = pair.want(1.0, "English"), pair.got(1.0, language="German")
    for wrong in (got, pair.got(1.0, language="english"), pair.got(1.0)):
        with pytest.raises(AssertionError):
            same_ids(wrong.taps["asked.ids"], expected)
    with pytest.raises(AssertionError):
        same_logits(
            got.outputs["logits"][-1:], Stages(**{**vars(expected), "logits": expected.logits[-1:]})
        )


def wrong_embeds(expected: Stages, slots: np.ndarray, words: np.ndarray) -> dict[str, np.ndarray]:
    """Return embeddings that are wrong in ways that no shape shows."""
    shifted = expected.embeds.copy()
    shifted[slots] = np.roll(expected.rows, 1, axis=0)
    return {
        "the whole scaled": expected.embeds * np.float32(128**0.5),
        "the words scaled": np.where(
            slots[:, None], expected.embeds, expected.embeds * np.float32(2)
        ),
        "rows shifted by one": shifted,
        "the placeholder's own": words,
    }


@pytest.mark.parametrize(
    "wrong",
    ["the whole scaled", "the words scaled", "rows shifted by one", "the placeholder's own"],
)
def test_other_embeddings_differ(pair: Pair, wrong: str) -> None:
    expected = pair.want(3.375, "English")
    right = pair.got(3.375, language="English")
    slots = right.taps["asked.slots"]
    embeds = wrong_embeds(expected, slots, right.taps["words"])[wrong]
    feed = {"embeds": embeds.astype(np.float32)}
    with pytest.raises(AssertionError):
        same_embeds(feed["embeds"], expected)
    got = pair.got(3.375, language="English", feed=feed)
    with pytest.raises(AssertionError):
        same_logits(got.outputs["logits"], expected)
    answer = pair.got(3.375, task="transcribe", language="English", feed=feed)
    assert answer.outputs["ids"].tolist() != expected.answer
    same_logits(
        pair.got(3.375, language="English", feed={"embeds": expected.embeds}).outputs["logits"],
        expected,
    )


GATE = StageJudge(Tolerance(l2=1e-4, peak=1e-3, gain=1e-4, angle=1e-6))
NOT_COMPARED = ("mel.mask", "asked.text", "asked.speech", "answer.finish_reason")


def compared(pair: Pair, seconds: float, variant: str | None = None) -> Comparison:
    """Compare the bundle with a dump of transformers, as composer diff does."""
    dump = pair.reference.dump(make_clip(seconds), "English")
    with composer.load(pair.path, variant=variant, profile=ONE_THREAD) as bundle:
        bundle.checked = with_steps(bundle.checked)
        return against_bundle(dump, bundle, "transcribe", GATE, NOT_COMPARED)


def test_diff_finds_transformers_the_same(pair: Pair) -> None:
    found = compared(pair, 3.375)
    assert found.ok, [(row.name, row.own.faults, row.fed) for row in found.rows if not row.ok]
    assert [row.name for row in found.rows][-1] == "answer_steps"


@pytest.mark.parametrize(
    ("variant", "seconds", "stage"),
    [("no_minimum", 0.35, "mel"), ("padded", 3.375, "mel"), ("rounded_up", 3.379, "mel"),
     ("mixed", 3.375, "words")],
)  # fmt: skip
def test_diff_names_the_stage_of_a_wrong_setting(
    pair: Pair, variant: str, seconds: float, stage: str
) -> None:
    first = compared(pair, seconds, variant).first
    assert first is not None
    assert first.name == stage


def test_the_command_says_the_same(pair: Pair, tmp_path: Path, capsys: Any) -> None:
    from composer.cli import main

    reference = tmp_path / "reference.safetensors"
    reference.write_bytes(pair.reference.dump(make_clip(3.375), "English").pack())
    given = ["diff", str(reference), str(pair.path), "--task", "transcribe"]
    given += [part for name in NOT_COMPARED for part in ("--skip", name)]
    assert main(given) == 0
    assert "the same: " in capsys.readouterr().out
    assert main([*given, "--variant", "padded"]) == 1
    assert "the first is mel" in capsys.readouterr().out
