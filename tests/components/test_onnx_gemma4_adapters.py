"""Adapters on onnx.gemma4, whose last layers have no keys and values of their own to adapt."""

from dataclasses import replace

import numpy as np
import pytest

from composer.components.onnx.gemma4 import OnnxGemma4
from composer.core.placement import Placement
from composer.formats import Headers
from tests.components import gemma4_adapters as on_mlx
from tests.components.gemma4_adapters import IDS, SCALE, matrices, torch_logits, write_pair
from tests.streams import ids_of

pytestmark = pytest.mark.usefixtures("one_thread")


def spec_with(home, **scales):
    return replace(on_mlx.spec_with(home, None, **scales), config=OnnxGemma4.Config())


def load(home, **scales):
    wanted = spec_with(home, **scales)
    return OnnxGemma4.load(wanted, OnnxGemma4.facts(wanted, Headers()), Placement(threads=1))


def logits(lm, *on):
    return lm.logits(lm.embed(IDS), lm.per_layer(IDS), adapters=on)


def greedy(lm, *on, count=8):
    return ids_of(lm.generate(lm.embed(IDS), lm.per_layer(IDS), adapters=on, max_tokens=count))


def away(found, expected):
    return np.abs(found - expected).max() / np.abs(expected).max()


@pytest.fixture(scope="module", params=["e2b", "e4b"])
def pair(request, tmp_path_factory):
    home = tmp_path_factory.mktemp(request.param)
    model = write_pair(home, request.param)
    return model, home, load(home, speech=SCALE)


def test_it_computes_what_the_formula_gives_in_transformers(pair):
    model, home, lm = pair
    off, on, _ = torch_logits(model, home)
    assert away(logits(lm), off) < 1e-4
    assert away(logits(lm, "speech"), on) < 1e-4
    assert away(on, off) > 0.1


def test_ids_and_notes_are_those_of_mlx(pair):
    _, home, lm = pair
    mlx = on_mlx.load(home, speech=SCALE)
    for on in ((), ("speech",), ()):
        assert greedy(lm, *on) == on_mlx.greedy(mlx, *on)
    assert greedy(lm) != greedy(lm, "speech")
    ours, theirs = (
        OnnxGemma4.facts(spec_with(home, **more), Headers()) for more in ({}, {"speech": 20.0})
    )
    assert [note.code for note in theirs.notes] == ["L327"]
    live = sum(value.nbytes for value in matrices(pair[0], dead=False).values())
    assert theirs.nbytes - ours.nbytes == live


def test_off_is_the_base_to_the_bit(pair):
    _, home, lm = pair
    alone = load(home)
    base = logits(alone)
    for _ in range(3):
        assert np.array_equal(logits(lm), base)
        assert not np.array_equal(logits(lm, "speech"), base)
    assert greedy(lm) == greedy(alone)
