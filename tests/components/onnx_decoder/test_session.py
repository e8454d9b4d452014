"""What a decoder remembers stays in ONNX Runtime, in this process or in a child."""

import gc

import numpy as np
import pytest

from composer.components.onnx.sequences import IsolatedSequences, LocalSequences
from composer.core.errors import ComposerError
from composer.core.placement import Placement
from composer.generation.decoder import DecoderInput
from tests.components.mlx_lm.models import IDS
from tests.components.onnx_decoder.loading import load
from tests.components.onnx_lm.loading import separate_store
from tests.streams import ids_of

pytestmark = pytest.mark.usefixtures("one_thread")


def begin(lm, ids=IDS):
    return lm.decoder.prefill(DecoderInput({"input_ids": ids}))


def step(lm, states, count):
    found = [[] for _ in states]
    for _ in range(count):
        tokens = lm.decoder.greedy(states)
        for ids, token in zip(found, tokens, strict=True):
            ids.append(token)
        lm.decoder.step(states, tokens)
    return found


@pytest.mark.parametrize("isolated", [False, True])
def test_a_file_that_is_not_trusted_runs_in_a_child(qwen3, isolated):
    lm = load(qwen3.folder, isolated=isolated)
    kind = IsolatedSequences if isolated else LocalSequences
    assert isinstance(lm.decoder.session.graph, kind)
    assert ids_of(lm.generate(prompt=IDS, max_tokens=24)) == qwen3.ids
    states = [begin(lm), begin(lm, IDS[:9])]
    alone = step(lm, [begin(lm, IDS[:9])], 6)
    assert step(lm, states, 6) == [qwen3.ids[:6], *alone]


def test_a_cache_is_cut_to_the_rows_that_count(qwen3, lm):
    """As a conversation does, whose next turn continues what was read."""
    state = begin(lm)
    step(lm, [state], 3)
    assert lm.decoder.trim(state.cache, 5)
    lm.decoder.step([state], [int(IDS[15])])
    assert separate_store(state.logits, qwen3.logits[15]) < 1e-4
    assert state.cache.length == 16
    state.cache.length -= 1  # one row too many is another text
    state.cache.length += 1
    lm.decoder.step([state], [int(IDS[15])])
    assert separate_store(state.logits, qwen3.logits[16]) > 1e-2


def test_a_conversation_reads_again_only_what_is_new(qwen3, lm, monkeypatch):
    first = ids_of(lm.generate(prompt=IDS, max_tokens=4, reuse_cache=True))
    fed, advance = [], lm.decoder.session.graph.advance

    def counted(words, feeds, seconds):
        fed.append(feeds["input_ids"].shape[1])
        return advance(words, feeds, seconds)

    monkeypatch.setattr(lm.decoder.session.graph, "advance", counted)
    longer = np.concatenate([IDS, first, IDS[:3]])
    again = ids_of(lm.generate(prompt=longer, max_tokens=4, reuse_cache=True))
    assert fed[0] == 4  # the last token of the answer, and three more
    assert again == ids_of(load(qwen3.folder).generate(prompt=longer, max_tokens=4))


def test_what_is_kept_never_becomes_an_array(lm, monkeypatch):
    import onnxruntime

    shapes, plain = [], onnxruntime.OrtValue.numpy

    def seen(value):
        shapes.append(value.shape())
        return plain(value)

    monkeypatch.setattr(onnxruntime.OrtValue, "numpy", seen)
    step(lm, [begin(lm)], 3)
    assert {len(shape) for shape in shapes} == {3}  # logits alone


def test_memory_is_given_back(lm):
    state = begin(lm)
    graph = lm.decoder.session.graph
    assert [*graph.kept] == [state.cache.number]
    del state
    gc.collect()
    assert graph.kept == {}


def test_what_a_child_remembered_ends_with_it(qwen3):
    lm = load(qwen3.folder, isolated=True)
    state = begin(lm)
    lm.decoder.session.graph.child.process.kill()
    with pytest.raises(ComposerError, match="its process ended"):
        lm.decoder.step([state], [3])
    with pytest.raises(ComposerError, match="what it remembered of this text is lost"):
        lm.decoder.step([state], [3])
    assert ids_of(lm.generate(prompt=IDS, max_tokens=24)) == qwen3.ids


def test_a_run_ends_at_its_time_limit(qwen3):
    lm = load(qwen3.folder, placement=Placement(threads=1, time_limit=1e-6))
    with pytest.raises(ComposerError, match="stopped after 1e-06 s, the time limit"):
        begin(lm, np.tile(IDS, 20))
