"""Sequences that are stepped together have the bits that each has alone."""

import numpy as np
import pytest

from composer.components.onnx.lm import decoder as decoder_module
from composer.core.placement import Placement
from composer.generation.decoder import DecoderInput
from tests.components.mlx_lm.models import SCHEMES, quantized, save, torch_model
from tests.components.onnx_lm.loading import load

SIZES = (3, 40, 17, 1, 9, 70, 33, 5)
EVERY = range(len(SIZES))
STEPS = 12
WIDER = {"hidden_size": 128, "num_hidden_layers": 2, "head_dim": 32}
FORMS = {
    "float32": (None, "float32"),
    "planes of 8 and 4 bits": ("mixed 8-4", "float32"),
    "rounded to int8": ("mixed 8-4", "int8"),
    "windows": ("gemma3_text", "float32"),
}


@pytest.fixture(scope="module", params=FORMS)
def lm(request, tmp_path_factory):
    form, activations = FORMS[request.param]
    home = tmp_path_factory.mktemp("batch") / "lm"
    if form in SCHEMES:
        folder = quantized(torch_model(**WIDER), home, *SCHEMES[form])
    else:
        folder = save(torch_model(form or "qwen3", **WIDER), home)
    return load(folder, Placement(threads=2), activations=activations)


def begin(lm, numbers=EVERY):
    random = np.random.default_rng(1)
    prompts = [lm.embed(random.integers(3, 190, size)) for size in SIZES]
    return [lm.decoder.prefill(DecoderInput({"embeds": prompts[number]})) for number in numbers]


def hidden(state):
    """Return what the head was given, or gave."""
    return getattr(state.logits, "hidden", state.logits).copy()


def stepped(lm, states, turns=STEPS, chosen=lambda turn, count: range(count)):
    """Return for each state its ids and rows, while those that `chosen` names are stepped."""
    found = [([], []) for _ in states]
    for turn in range(turns):
        places = [*chosen(turn, len(states))]
        some = [states[place] for place in places]
        tokens = lm.decoder.greedy(some)
        for place, state, token in zip(places, some, tokens, strict=True):
            found[place][0].append(token)
            found[place][1].append(hidden(state))
        lm.decoder.step(some, tokens)
    return found


@pytest.fixture(scope="module")
def alone(lm):
    return [stepped(lm, begin(lm, [number]), 2 * STEPS)[0] for number in range(len(SIZES))]


def assert_prefix(found, whole):
    ids, rows = found
    assert ids == whole[0][: len(ids)]
    assert all((a == b).all() for a, b in zip(rows, whole[1], strict=False))


@pytest.mark.parametrize("count", [2, 3, 8])
def test_bits_are_those_of_each_alone(lm, alone, count):
    for found, whole in zip(stepped(lm, begin(lm, range(count))), alone, strict=False):
        assert_prefix(found, whole)


def test_bits_are_the_same_in_changing_company(lm, alone):
    """Sequences are moved from slot to slot, and out of the way of others."""
    random = np.random.default_rng(3)

    def some(turn, count):
        return random.permutation(count)[: random.integers(1, count + 1)]

    for found, whole in zip(stepped(lm, begin(lm), 2 * STEPS, some), alone, strict=True):
        assert len(found[0]) > 3
        assert_prefix(found, whole)


def test_more_than_there_are_slots_for(lm, alone, monkeypatch):
    monkeypatch.setattr(decoder_module, "SLOTS", 3)
    monkeypatch.setattr(lm.decoder, "shared", {})
    for found, whole in zip(stepped(lm, begin(lm)), alone, strict=True):
        assert_prefix(found, whole)


def test_the_last_one_that_stays_is_moved_out_of_the_way(lm, alone):
    """As a sequence is whose text has ended, and whose cache is kept for the next prompt."""
    kept, *others = begin(lm, range(4))
    stepped(lm, [kept, others[0]], 1)
    del others[0]
    for found, whole in zip(stepped(lm, others), alone[2:4], strict=True):
        assert_prefix(found, whole)
    ids, rows = stepped(lm, [kept])[0]
    assert_prefix((ids, rows), (alone[0][0][1:], alone[0][1][1:]))


def test_memory_is_given_back(lm):
    states = begin(lm, range(3))
    stepped(lm, states, 2)
    (store,) = {state.cache.store for state in states}
    name = next(iter(store.arrays))
    slot = states[1].cache.slot
    assert store.arrays[name][slot].any()
    del states[1]
    assert store.member(slot) is None
    assert not store.arrays[name][slot].any()
    assert all(store.arrays[name][state.cache.slot].any() for state in states)
    states.clear()
    assert (store.capacity, store.arrays) == (0, {})


def test_a_sequence_that_is_wrong_touches_no_other(lm, alone):
    states = begin(lm, range(4))
    for array in states[1].cache.arrays.values():
        array[:, : states[1].cache.length] = np.nan
    lm.decoder.step(states, [whole[0][0] for whole in alone[:4]])
    assert np.isnan(hidden(states[1])).any()
    del states[1]  # its slot is taken by another
    states.insert(1, begin(lm, [1])[0])
    lm.decoder.step(states[1:2], [alone[1][0][0]])
    for found, (ids, rows) in zip(stepped(lm, states), alone, strict=False):
        assert_prefix(found, (ids[1:], rows[1:]))


def test_one_row_off_is_another_sequence(lm, alone):
    states = begin(lm, range(2))
    lm.decoder.step(states, [0, 0])
    states[0].cache.length -= 1
    found = stepped(lm, states, 1)
    assert (found[0][1][0] != alone[0][1][1]).any()
