"""Rows of a picture see each other in the large Gemma-4s: three backends against transformers."""

from dataclasses import replace

import numpy as np
import pytest

from composer.components.models import gemma4
from composer.components.models.rows_ahead import rows_ahead
from composer.generation.decoder import DecoderInput
from tests.components.test_pixels import picture
from tests.models.decoders import BACKENDS, away
from tests.models.test_gemma4 import Model
from tests.reference.gemma4_vision import Gemma4Vision

pytestmark = pytest.mark.usefixtures("one_thread")
CLOSE = 1e-4
PICTURES = (picture(60, 80), picture(300, 40, seed=1))  # more rows each than the window of 8


class Pictures(Model):
    """A decoder whose prompts are cut behind whole pictures."""

    def logits(self, rows, chunk=None):
        cache, prompt = self.decoder.begin(), DecoderInput(rows)
        parts = prompt.parts(0, len(prompt), chunk or len(prompt))
        cut = [{name: each[start:end] for name, each in rows.items()} for start, end in parts]
        return np.concatenate([self.read(part, cache, True) for part in cut])


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    theirs = Gemma4Vision("31b")
    folder = theirs.write(tmp_path_factory.mktemp("gemma") / "repo")
    ids = theirs.prompt(list(PICTURES), "What is there?")
    inputs, _ = theirs.answer(ids, list(PICTURES))
    marks = ids == theirs.id("<|image|>")
    rows = {"embeds": inputs["embeds"], "ahead": rows_ahead(len(marks), marks).astype(np.float32)}
    return folder, rows, inputs["logits"], marks


def test_a_prompt_is_cut_behind_whole_pictures():
    marks = np.array([0, 1, 1, 1, 0, 0, 1, 0, 1, 1], bool)
    prompt = DecoderInput({"embeds": np.zeros((10, 1)), "ahead": rows_ahead(len(marks), marks)})
    assert list(prompt.parts(0, 10, 2)) == [(0, 4), (4, 6), (6, 8), (8, 10)]
    assert list(prompt.parts(0, 10, 20)) == [(0, 10)]
    assert [prompt.whole(end) for end in range(11)] == [0, 1, 1, 1, 4, 5, 6, 7, 8, 8, 10]
    audio = np.array([1, 0, 0, 0, 0, 1, 0, 0, 0, 0], bool)  # with a picture between its clips
    ahead = rows_ahead(10, marks & ~audio, audio)
    prompt = DecoderInput({"embeds": np.zeros((10, 1)), "ahead": ahead})
    assert list(prompt.parts(0, 10, 1)) == [(0, 6), (6, 7), (7, 8), (8, 10)]
    assert [prompt.whole(end) for end in (3, 5, 6)] == [0, 0, 6]
    plain = DecoderInput({"embeds": np.zeros((10, 1))})
    assert list(plain.parts(0, 10, 4)) == [(0, 4), (4, 8), (8, 10)]
    assert plain.whole(3) == 3


@pytest.mark.parametrize("backend", BACKENDS)
def test_it_is_what_transformers_computes_in_any_chunks(case, backend):
    folder, rows, logits, _ = case
    model = Pictures(folder, backend)
    for chunk in (1, 9, 64, None):
        assert away(model.logits(rows, chunk), logits) < CLOSE, chunk


def everywhere(found):
    """Let pictures be seen both ways in layers without a window too, as mlx-vlm does."""

    def forward(nn, settings, x, ahead):
        attention = nn.cached_attention
        nn.cached_attention = lambda q, k, v, number, attn, _: attention(
            q, k, v, number, replace(attn, window=attn.window or 10_000), ahead
        )
        return gemma4.forward(nn, settings, x, ahead=ahead)

    return replace(found, forward=forward)


def beyond_the_window(found):
    """Let pictures be seen whole, though they are longer than the window."""

    def forward(nn, settings, x, ahead):
        attention = nn.cached_attention
        nn.cached_attention = lambda q, k, v, number, attn, given: attention(
            q, k, v, number, replace(attn, window=attn.window and 40), given
        )
        return gemma4.forward(nn, settings, x, ahead=ahead)

    return replace(found, forward=forward)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("why", ["causal", "one picture", "one row less", "everywhere",
                                 "beyond the window", "cut within a picture"])  # fmt: skip
def test_what_is_nearly_right_does_not_pass(case, backend, why):
    folder, rows, logits, marks = case
    change = {"everywhere": everywhere, "beyond the window": beyond_the_window}.get(why)
    model = Pictures(folder, backend, change) if change else Pictures(folder, backend)
    both = np.flatnonzero(marks)
    joined = np.zeros(len(marks), bool)
    joined[both[0] : both[-1] + 1] = True
    wrong = {
        "causal": np.zeros(len(marks)),
        "one picture": rows_ahead(len(joined), joined),
        "one row less": np.maximum(rows["ahead"] - 1, 0),
    }
    ahead = wrong.get(why, rows["ahead"]).astype(np.float32)
    if why == "cut within a picture":
        ahead = np.minimum(ahead, np.arange(len(marks))[::-1] % 7).astype(np.float32)
    assert away(model.logits(rows | {"ahead": ahead}), logits) > 10 * CLOSE
