"""Prompts with pictures in the components of a large Gemma-4: caches, parts and many at once."""

import mlx.core as mx
import numpy as np
import pytest

from composer.components.mlx.gemma4 import MlxGemma4
from composer.components.onnx.gemma4 import OnnxGemma4
from composer.core.errors import ComposerError
from composer.core.placement import Placement
from composer.formats import Headers
from tests.components.gemma4_models import WIDTH, save, spec, torch_model
from tests.components.test_onnx_gemma4 import spec as onnx_spec
from tests.streams import outputs

LENGTH, FIRST, SECOND = 40, slice(5, 17), slice(20, 31)  # pictures are longer than the window of 8


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save(torch_model("31b"), tmp_path_factory.mktemp("gemma") / "31b", "31b")


@pytest.fixture(scope="module", params=["onnx", "mlx"])
def lm(folder, request):
    kind, given = (OnnxGemma4, onnx_spec(folder)) if request.param == "onnx" else (
        MlxGemma4, spec(folder)
    )  # fmt: skip
    placed = Placement() if request.param == "onnx" else Placement(device="cpu")
    return kind.load(given, kind.facts(given, Headers()), placed)


def prompt(seed=0, last=None):
    """Return embeddings and the marks of two pictures; `last` is another end of the first one."""
    embeds = np.random.default_rng(seed).normal(0, 1, (LENGTH, WIDTH)).astype(np.float32)
    if last is not None:
        embeds[FIRST.stop - 1] = last
    marks = np.zeros(LENGTH, bool)
    marks[FIRST] = marks[SECOND] = True
    return embeds, marks


def array(lm, value):
    return mx.array(value) if lm.backend == "mlx" else value


def answer(lm, embeds, marks, **options):
    given = {"embeds": array(lm, embeds), "pictures": array(lm, marks)}
    found = outputs(lm.generate(**given, max_tokens=8, stop=(), **options))[1]["ids"]
    return np.array(found).tolist()


def test_parts_of_any_size_give_the_same_answer(lm):
    embeds, marks = prompt()
    whole, chunk = answer(lm, embeds, marks), lm.decoder.chunk
    try:
        for size in (1, 7, 18):
            lm.decoder.chunk = size
            assert answer(lm, embeds, marks) == whole
    finally:
        lm.decoder.chunk = chunk
    assert answer(lm, embeds, np.zeros(LENGTH, bool)) != whole


def test_a_kept_cache_ends_before_a_picture_that_differs(lm):
    """The keys of a picture's first rows depend on its last one."""
    other = prompt(last=np.full(WIDTH, 0.5))
    expected = answer(lm, *other)
    answer(lm, *prompt(), reuse_cache=True)
    assert answer(lm, *other, reuse_cache=True) == expected
    assert answer(lm, *prompt(), reuse_cache=True) == answer(lm, *prompt())


def test_both_backends_compute_the_same(folder):
    embeds, marks = prompt()
    found = []
    for kind, given, placed in (
        (OnnxGemma4, onnx_spec(folder), Placement()),
        (MlxGemma4, spec(folder), Placement(device="cpu")),
    ):
        made = kind.load(given, kind.facts(given, Headers()), placed)
        given = {"embeds": array(made, embeds), "pictures": array(made, marks)}
        found.append(np.array(made.logits(**given)))
        ids = array(made, np.array([7, 9, 11]))
        found.append(np.array(made.replay(array(made, embeds), ids, pictures=given["pictures"])))
    np.testing.assert_allclose(found[0], found[2], atol=1e-4)
    np.testing.assert_allclose(found[1], found[3], atol=1e-4)
    np.testing.assert_allclose(found[1][0], found[0][-1], atol=1e-4)


def test_pictures_are_no_input_of_the_small_ones(tmp_path):
    small = save(torch_model("e2b"), tmp_path / "e2b", "e2b")
    facts = OnnxGemma4.facts(onnx_spec(small), Headers())
    assert "pictures" not in facts.methods["generate"].inputs
    assert "pictures" not in facts.methods["generate"].optional


def test_shared_layers_with_pictures_both_ways_are_refused(tmp_path):
    folder = save(torch_model("e2b"), tmp_path / "e2b", "e2b", use_bidirectional_attention="vision")
    with pytest.raises(ComposerError) as caught:
        OnnxGemma4.facts(onnx_spec(folder), Headers())
    assert (
        "W275 use_bidirectional_attention is vision, and the last 3 layers share keys and values"
        in str(caught.value)
    )
