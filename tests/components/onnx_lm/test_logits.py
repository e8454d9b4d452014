"""onnx.lm computes what transformers computes, and what is nearly right does not pass."""

from dataclasses import replace

import numpy as np
import pytest

from composer.components.checkpoints import affine
from composer.components.models import decoder, llama, rotary
from composer.generation.decoder import DecoderInput
from tests.components.mlx_lm.models import (
    IDS,
    ROWS,
    edit,
    greedy,
    greedy_of_torch,
    save,
    torch_model,
)
from tests.components.onnx_lm.loading import load, logits_of_torch, separate_store

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def expected(qwen3):
    return greedy_of_torch(qwen3[0])


@pytest.mark.parametrize("kind", ["qwen3", "qwen2", "llama"])
@pytest.mark.parametrize("tied", [True, False])
def test_it_computes_what_transformers_computes(tmp_path, kind, tied):
    model = torch_model(kind, tied)
    lm = load(save(model, tmp_path / kind))
    embeds = lm.embed(IDS)
    table = model.get_input_embeddings().weight.detach().numpy()
    np.testing.assert_array_equal(embeds, table[IDS])
    theirs = logits_of_torch(model)
    for _ in range(2):  # the second time shows that nothing was changed in place
        assert separate_store(lm.logits(embeds), theirs) < 1e-5
    assert greedy(lm, embeds) == greedy_of_torch(model)


@pytest.mark.parametrize("more", [{"head_dim": 32}, {"num_key_value_heads": 4}])
def test_heads_may_have_any_width_and_number(tmp_path, more):
    model = torch_model(**more)
    lm = load(save(model, tmp_path / "lm"))
    assert separate_store(lm.logits(lm.embed(IDS)), logits_of_torch(model)) < 1e-5


@pytest.mark.parametrize("chunk", [1, 7, 64, 512])
def test_the_chunk_of_the_prefill_changes_nothing(qwen3, lm, expected, chunk, monkeypatch):
    monkeypatch.setattr(lm.decoder, "chunk", chunk)
    embeds, theirs = lm.embed(IDS), logits_of_torch(qwen3[0])
    state = lm.decoder.prefill(DecoderInput({"embeds": embeds}))
    assert separate_store(lm.decoder.logits(state), theirs[-1]) < 1e-5
    assert separate_store(lm.logits(embeds), theirs) < 1e-5
    assert greedy(lm, embeds) == expected


def test_steps_give_the_logits_of_the_whole(lm):
    embeds = lm.embed(IDS)
    whole = lm.logits(embeds)
    with_step_options = lm.replay(embeds[:5], IDS[5:])
    assert separate_store(with_step_options, whole[4:-1]) < 1e-5
    assert lm.replay(embeds, IDS[:0]).shape == (0, ROWS)


def test_a_cache_grows_over_its_room(tmp_path):
    model = torch_model(num_hidden_layers=1, max_position_embeddings=1024)
    lm = load(save(model, tmp_path / "lm"))
    ids = np.random.default_rng(3).integers(3, ROWS, 700)
    theirs = logits_of_torch(model, ids)
    assert separate_store(lm.logits(lm.embed(ids)), theirs) < 2e-5
    cache = lm.decoder.begin()
    capacities = set()
    for part in np.array_split(lm.embed(ids), 7):
        last = lm.decoder.read({"embeds": part}, cache)
        capacities.add(cache.capacity)
    assert separate_store(last[0], theirs[-1]) < 2e-5
    assert (cache.length, capacities) == (700, {256, 512, 1024})


@pytest.mark.parametrize(
    "rules",
    [
        {"rope_type": "linear", "factor": 4.0},
        {
            "rope_type": "llama3",
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 16,
        },
    ],
)
def test_scaled_positions_are_those_of_transformers(tmp_path, rules):
    model = torch_model("llama", rope_parameters={"rope_theta": 10000.0, **rules})
    scaled = load(save(model, tmp_path / "lm", rope_scaling=rules))
    embeds = scaled.embed(IDS)
    assert separate_store(scaled.logits(embeds), logits_of_torch(model)) < 1e-5
    plain = load(edit(tmp_path / "lm", rope_scaling=None))
    assert separate_store(plain.logits(embeds), logits_of_torch(model)) > 1e-3


def test_scaled_embeddings_are_another_space(qwen3, lm):
    assert separate_store(lm.logits(lm.embed(IDS) * 8), logits_of_torch(qwen3[0])) > 1e-2


def test_positions_off_by_one_are_far_away(qwen3, lm):
    embeds, theirs = lm.embed(IDS), logits_of_torch(qwen3[0])
    cache = lm.decoder.begin()
    lm.decoder.read({"embeds": embeds[:8]}, cache)
    cache.length -= 1
    assert separate_store(lm.decoder.read({"embeds": embeds[8:]}, cache)[0], theirs[-1]) > 1e-3


def test_a_norm_that_is_left_out_is_far_away(qwen3, monkeypatch):
    def forward(v, settings, x):
        return llama.forward(v, replace(settings, qk_norm=False), x)

    architecture = replace(llama.ARCHITECTURE, forward=forward)
    monkeypatch.setitem(decoder.architectures(), "qwen3", architecture)
    lm = load(qwen3[2])
    assert separate_store(lm.logits(lm.embed(IDS)), logits_of_torch(qwen3[0])) > 1e-2


def test_a_wrong_zero_point_is_far_away(mixed, monkeypatch):
    right = load(mixed)
    embeds = right.embed(IDS)
    genuine = affine.residual_offset
    monkeypatch.setattr(affine, "residual_offset", lambda s, b, scheme: genuine(s, b, scheme) + s)
    assert separate_store(load(mixed).logits(embeds), right.logits(embeds)) > 1e-2


def test_positions_at_another_base_are_far_away(qwen3, monkeypatch):
    monkeypatch.setattr(rotary.Rotary, "frequencies", lambda self: np.ones(self.dims // 2))
    lm = load(qwen3[2])
    assert separate_store(lm.logits(lm.embed(IDS)), logits_of_torch(qwen3[0])) > 1e-2
