"""Gemma-4's sight by the shipped manifests, on both backends, against transformers."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image

import composer
from composer.formats.audio.clip import Clip
from composer.jobs.chat_completion import Message, find_chat_task
from composer.sources.shipped import shipped_folder
from tests.components.test_pixels import picture
from tests.reference.gemma4_vision import BUDGET, PATCH, TOKENS, Gemma4Vision
from tests.reference.qwen3_asr import make_clip

FEW = {"answer": {"max_tokens": TOKENS}}
LONG = [pytest.param(each, marks=pytest.mark.slow) for each in ((20, 200), (300, 40))]
SHAPES = ((60, 80), (1, 1), *LONG)
BACKENDS = ("onnx", "mlx")
QUESTION = "What is there?"
NAMES = {"e2b": "e2b", "e4b": "e4b", "26b": "26b-a4b", "31b": "31b"}
LARGE = ("26b", "31b")  # these do not take audio, and their pictures are seen both ways


@pytest.fixture(
    scope="module",
    params=["e2b", "31b", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("e4b", "26b"))],
)
def gemma(one_thread: None, request: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    made: Any = Gemma4Vision(request.param, audio=request.param not in LARGE)
    home = tmp_path_factory.mktemp(request.param)
    made.repo = made.write(home / "repo")
    name = f"gemma-4-{NAMES[request.param]}"
    small = f"{{use: image.gemma4, config: {{patch_size: {PATCH}, max_soft_tokens: {BUDGET}}}}}"
    text = (shipped_folder("bundles") / f"{name}.yaml").read_text()
    made.text = text.replace("{use: image.gemma4}", small)
    assert made.text != text
    made.path = home / "bundle.yaml"
    return made


def answered(gemma: Any, backend: str, task: str, text: str | None = None, **given: Any) -> Any:
    if gemma.kind == "26b" and backend == "onnx":
        pytest.skip("experts run on MLX alone")
    gemma.path.write_text(text or gemma.text)
    sources, options = {"repo": gemma.repo}, {"task": task, "options": FEW, "taps": True}
    with composer.load(gemma.path, task=task, sources=sources, backends={"*": backend}) as bundle:
        return bundle.run(**options, **given).taps


def require_equal(gemma: Any, taps: Any, pictures: list[Any], clip: Any = None) -> None:
    """Compare the decoder's inputs and the answer with the whole model's."""
    ids = np.array(taps["asked.ids"])
    if "asked.speech" in taps:
        ids[np.array(taps["asked.speech"])] = gemma.id("<|audio|>")
    inputs, answer = gemma.answer(ids, pictures, clip)
    inputs.pop("logits")
    for name, want in inputs.items():
        np.testing.assert_allclose(np.array(taps[name]), want, atol=1e-4, err_msg=name)
    assert taps["answer.ids"].tolist() == answer[: len(taps["answer.ids"])]
    assert len(set(answer)) > 4


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_picture_is_answered_as_by_transformers(gemma: Any, shape: Any, backend: str) -> None:
    pixels = picture(*shape)
    taps = answered(gemma, backend, "see", picture=pixels, question=QUESTION)
    rows = gemma.stages(pixels)["rows"]
    np.testing.assert_allclose(np.array(taps["seen"]), rows, atol=1e-4)
    require_equal(gemma, taps, [pixels])


@pytest.mark.slow
@pytest.mark.parametrize("backend", BACKENDS)
def test_two_pictures_are_answered_as_by_transformers(gemma: Any, backend: str) -> None:
    pixels = [picture(60, 80), picture(300, 40, seed=1)]
    given = {"picture": pixels[0], "other": pixels[1], "question": QUESTION}
    require_equal(gemma, answered(gemma, backend, "compare", **given), pixels)


@pytest.mark.parametrize("backend", BACKENDS)
def test_pictures_and_speech_are_answered_as_by_transformers(gemma: Any, backend: str) -> None:
    if gemma.kind in LARGE:
        pytest.skip("it takes no audio")
    pixels, clip = [picture(60, 80), picture(20, 200)], make_clip(2.0)
    given = {"picture": pixels, "audio": composer.read_audio((clip, 16_000))}
    require_equal(gemma, answered(gemma, backend, "ask", **given), pixels, clip)


WRONG = {
    "another filter": ("max_soft_tokens: 70", "max_soft_tokens: 70, resample: bilinear", "patches"),
    "another budget": ("max_soft_tokens: 70", "max_soft_tokens: 140", "patches"),
    "rows that the decoder is to scale": (
        "vision: {use: gemma4_vision, weights: repo, emits: decoder.embed}",
        "vision: {use: gemma4_vision, weights: repo, emits: decoder.embed_unscaled}",
        "embeds",
    ),
    "the placeholder's own per-layer row": ("value: 0", "value: 10", "per_layer"),
    "zeros for pad": ("{ids: $text_ids}", "{ids: $text_ids, zero: $asked.slots}", "per_layer"),
}


@pytest.mark.parametrize("why", WRONG)
def test_one_wrong_setting_is_named(gemma: Any, why: str) -> None:
    old, new, stage = WRONG[why]
    if gemma.kind in LARGE and stage == "per_layer":
        pytest.skip("it has no per-layer inputs")
    backend = "mlx" if gemma.kind == "26b" else "onnx"
    text = gemma.text.replace(old, new)
    assert text != gemma.text
    pixels = picture(60, 80)
    given = {"picture": pixels, "question": QUESTION}
    right, wrong = (answered(gemma, backend, "see", each, **given) for each in (None, text))
    differing = []
    for name in ("patches", "seen", "embeds", "per_layer"):
        if name not in right:
            continue
        if right[name].shape != wrong[name].shape or np.abs(right[name] - wrong[name]).max() > 1e-3:
            differing.append(name)
    assert differing[0] == stage


def test_a_picture_that_is_read_as_words_are_is_answered_otherwise(gemma: Any) -> None:
    if gemma.kind not in LARGE:
        pytest.skip("its pictures are read as words are")
    pixels = picture(60, 80)
    given = {"picture": pixels, "question": QUESTION}
    causal = gemma.text.replace("pictures: $asked.slots, ", "")
    assert causal != gemma.text
    taps = answered(gemma, "mlx", "see", causal, **given)
    warned = composer.check(gemma.path, sources={"repo": gemma.repo}).problems
    assert [str(each).partition(": L343 ")[2] for each in warned if each.code == "L343"] == 2 * [
        "warning: decoder.generate reads the rows of a picture as those of words: 'pictures' is "
        "not wired\n    hint: wire the marks of its slots, such as pictures: "
        "$asked.picture; with several those of all",
    ]
    _, answer = gemma.answer(np.array(taps["asked.ids"]), [pixels])
    assert taps["answer.ids"].tolist() != answer[: len(taps["answer.ids"])]


def test_a_message_goes_to_the_task_that_takes_its_pictures(gemma: Any) -> None:
    file = BytesIO()
    Image.fromarray(picture(60, 80)).save(file, "png")
    png, clip = file.getvalue(), Clip((make_clip(1.0), 16_000))
    gemma.path.write_text(gemma.text)
    tasks = {"see": ((), (png,)), "compare": ((), (png, png)), "ask": ((clip,), (png,))}
    if gemma.kind in LARGE:
        tasks.pop("ask")
    backends = {"*": "mlx"} if gemma.kind == "26b" else {}
    with composer.load(gemma.path, sources={"repo": gemma.repo}, backends=backends) as bundle:
        for task, (audio, images) in tasks.items():
            found = find_chat_task(bundle, [Message("user", QUESTION, audio, images)])
            assert found.graph.task == task
            assert found.inputs["question"] == QUESTION
        found = find_chat_task(bundle, [Message("user", QUESTION, (), (png,) * 3)])
        assert found.graph.task == "see"
        assert found.inputs["picture"] == [png] * 3


@pytest.mark.parametrize("backend", BACKENDS)
def test_three_pictures_of_unequal_sizes_are_answered_as_by_transformers(
    gemma: Any, backend: str
) -> None:
    pictures = [picture(60, 80), picture(300, 40, seed=1), picture(40, 90, seed=2)]
    given = {"picture": pictures, "question": QUESTION}
    taps = answered(gemma, backend, "see", **given)
    assert np.array_equal(taps["asked.ids"], gemma.prompt(pictures, QUESTION))
    require_equal(gemma, taps, pictures)
    sizes = [np.array(taps[name]).shape[0] for name in ("seen", "seen_2", "seen_3")]
    assert len({*sizes}) > 1
    other = answered(gemma, backend, "see", **given | {"picture": pictures[::-1]})
    assert np.abs(np.array(other["rows"]) - np.array(taps["rows"])).max() > 1e-2
