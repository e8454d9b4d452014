"""Pictures and audio in prompts of a Gemma 3, seen both ways in every layer: two backends."""

from types import SimpleNamespace

import mlx.core as mx
import numpy as np
import pytest

from composer.components.models.rows_ahead import rows_ahead
from composer.core.errors import ComposerError
from tests.components.mlx_lm.models import save, torch_model
from tests.components.onnx_lm.test_hidden import load
from tests.reference.gemma3 import Gemma3
from tests.streams import outputs

pytestmark = pytest.mark.usefixtures("one_thread")
CLOSE, LENGTH = 1e-4, 60
PICTURES = (slice(4, 20), slice(21, 26), slice(44, 57))  # two are longer than the window of 11
CLIPS = (slice(6, 15), slice(30, 38))


def marked(slots):
    marks = np.zeros(LENGTH, bool)
    for slot in slots:
        marks[slot] = True
    return marks


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    theirs = Gemma3()
    folder = theirs.write(tmp_path_factory.mktemp("gemma3") / "repo")
    embeds = np.random.default_rng(8).normal(0, 0.15, (LENGTH, 64)).astype(np.float32)
    marks = marked(PICTURES)
    return SimpleNamespace(
        theirs=theirs, folder=folder, embeds=embeds, marks=marks,
        logits=theirs.logits(embeds, marks), ids=theirs.greedy(embeds, marks),
    )  # fmt: skip


@pytest.fixture(scope="module", params=["mlx", "onnx"])
def lm(case, request):
    return load(case.folder, request.param, prefix="language_model")[0]


def arrays(lm, **given):
    return {k: mx.array(v) if lm.backend == "mlx" else v for k, v in given.items()}


def away(found, expected):
    return np.abs(np.array(found) - expected).max() / np.abs(expected).max()


def answer(lm, reuse_cache=False, **given):
    stream = lm.generate(**arrays(lm, **given), max_tokens=16, reuse_cache=reuse_cache)
    return np.array(outputs(stream)[1]["ids"]).tolist()


def test_pictures_are_seen_as_transformers_has_them_in_any_chunks(case, lm):
    given = {"embeds": case.embeds, "pictures": case.marks}
    assert away(lm.logits(**arrays(lm, **given)), case.logits) < CLOSE
    ids, chunk = arrays(lm, ids=np.array(case.ids))["ids"], lm.decoder.chunk
    try:
        for size in (1, 7, 18, chunk):
            lm.decoder.chunk = size
            first = np.array(lm.replay(ids=ids, **arrays(lm, **given)))
            assert first.argmax(-1).tolist() == case.ids
            assert away(first[0], case.logits[-1]) < CLOSE
    finally:
        lm.decoder.chunk = chunk


@pytest.mark.parametrize("why", ["causal", "one picture", "one row less"])
def test_what_is_nearly_right_does_not_pass(case, lm, why):
    marks = case.marks.copy()
    if why == "causal":
        marks[:] = False
    elif why == "one picture":
        marks[PICTURES[0].start : PICTURES[-1].stop] = True
    else:
        marks[[slot.stop - 1 for slot in PICTURES]] = False
    given = arrays(lm, embeds=case.embeds, pictures=marks)
    assert away(lm.logits(**given), case.logits) > 10 * CLOSE


def test_all_audio_of_a_prompt_is_seen_both_ways_around_words_and_pictures(case, lm):
    audible, places = marked(CLIPS), np.arange(LENGTH)
    seen = places <= places[:, None]
    seen |= audible & audible[:, None]
    for picture in PICTURES[1:]:
        both = marked([picture])
        seen |= both & both[:, None]
    expected = case.theirs.masked_logits(case.embeds, seen)
    given = arrays(lm, embeds=case.embeds, pictures=marked(PICTURES[1:]), audio=audible)
    assert away(lm.logits(**given), expected) < CLOSE
    ids, chunk = arrays(lm, ids=np.array([5, 9]))["ids"], lm.decoder.chunk
    try:
        for size in (1, 16, chunk):
            lm.decoder.chunk = size
            assert away(lm.replay(ids=ids, **given)[0], expected[-1]) < CLOSE
    finally:
        lm.decoder.chunk = chunk
    separate = arrays(lm, embeds=case.embeds, pictures=marked([*PICTURES[1:], *CLIPS]))
    assert away(lm.logits(**separate), expected) > 10 * CLOSE


def test_audio_may_be_read_as_words_are(case):
    causal = load(case.folder, "onnx", prefix="language_model", audio_attention="causal")[0]
    audible = marked(CLIPS)
    expected = case.theirs.logits(case.embeds, np.zeros(LENGTH))
    assert away(causal.logits(case.embeds, audio=audible), expected) < CLOSE
    assert away(causal.logits(case.embeds, pictures=audible), expected) > 10 * CLOSE


def test_a_kept_cache_ends_before_audio_to_which_a_clip_is_added(case, lm):
    """The keys of the first clip depend on the second, and theirs on whether there is one."""
    one = {"embeds": case.embeds, "audio": marked(CLIPS[:1])}
    two = {"embeds": case.embeds, "audio": marked(CLIPS)}
    plain = [answer(lm, **given) for given in (one, two)]
    assert plain[0] != plain[1]
    kept = [answer(lm, reuse_cache=True, **given) for given in (one, two, one)]
    assert kept == [*plain, plain[0]]


def test_rows_end_where_their_block_ends():
    pictures = np.array([0, 1, 1, 0, 0, 0, 1, 0], bool)
    audio = np.array([1, 0, 0, 0, 1, 0, 0, 1], bool)
    assert rows_ahead(8, pictures).tolist() == [0, 1, 0, 0, 0, 0, 0, 0]
    assert rows_ahead(8, None, audio).tolist() == [7, 0, 0, 0, 3, 0, 0, 0]
    assert rows_ahead(8, pictures, audio).tolist() == [7, 1, 0, 0, 3, 0, 0, 0]
    with pytest.raises(ComposerError, match="R556 a row is marked as a picture's and as audio's"):
        rows_ahead(8, pictures, pictures)


@pytest.mark.parametrize("kind", ["mlx", "onnx"])
def test_a_decoder_of_text_alone_has_no_such_inputs(tmp_path, kind):
    folder = save(torch_model("gemma3_text"), tmp_path / "lm")
    signature = load(folder, kind)[1].methods["generate"]
    assert "pictures" not in signature.inputs
    assert "audio" not in signature.optional
