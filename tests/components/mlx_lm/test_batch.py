"""Sequences that MLX steps together have the bits that each has alone."""

from importlib import import_module
from weakref import ref

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_map_with_path

from composer.components.mlx.continued_alone import TOGETHER, continued_alone
from composer.components.mlx.decoder import MlxLmDecoder
from composer.components.mlx.mlx_lm_patches import pass_ids_with_embeddings
from composer.generation.decoder import DecoderInput
from composer.generation.prefix_cache import PrefixCache
from tests.components import gemma4_models
from tests.components.mlx_lm.models import (
    SCHEMES,
    greedy_of_torch,
    load,
    quantized,
    save,
    torch_model,
)

pytestmark = pytest.mark.usefixtures("one_thread")
SIZES = (3, 40, 17, 1, 9, 70, 33, 5)  # windows are of 8
EVERY = range(len(SIZES))
IDS = [np.random.default_rng(number).integers(3, 90, size) for number, size in enumerate(SIZES)]
STEPS = 6
CLOSE = 5e-2  # where rows are read at once that were read one by one, in bfloat16 too
FULL, SLIDING = "full_attention", "sliding_attention"


def plain(folder, dtype=None):
    return load(save(torch_model(num_hidden_layers=2), folder), dtype)


def packed(folder):
    return load(quantized(torch_model(num_hidden_layers=2), folder, *SCHEMES["mixed 8-4"]))


def gemma3(folder):
    return load(save(torch_model("gemma3_text"), folder))


def gemma4(folder):
    return gemma4_models.load(gemma4_models.save(gemma4_models.torch_model(), folder))


FORMS = {
    "float32": plain,
    "bfloat16": lambda folder: plain(folder, "bfloat16"),
    "8 and 4 bits": packed,
    "windows": gemma3,
    "gemma-4 e2b": gemma4,
}


@pytest.fixture(scope="module", params=FORMS)
def decoder(request, tmp_path_factory):
    lm = FORMS[request.param](tmp_path_factory.mktemp("batch") / "lm")
    assert lm.decoder.batches
    return lm.decoder


def begin(decoder, numbers=EVERY):
    return [decoder.prefill(DecoderInput(decoder.embed_tokens(IDS[at].tolist()))) for at in numbers]


def stepped(decoder, states, turns=STEPS, chosen=lambda turn, count: range(count)):
    """Return for each state its ids and logits, while those that `chosen` names are stepped."""
    found = [([], []) for _ in states]
    for turn in range(turns):
        places = [*chosen(turn, len(states))]
        some = [states[place] for place in places]
        tokens = decoder.greedy(some)
        for place, state, token in zip(places, some, tokens, strict=True):
            found[place][0].append(token)
            found[place][1].append(decoder.logits(state))
        decoder.step(some, tokens)
    return found


@pytest.fixture(scope="module")
def alone(decoder):
    return [stepped(decoder, begin(decoder, [number]), 2 * STEPS)[0] for number in EVERY]


def assert_prefix(found, whole):
    ids, logits = found
    assert ids == whole[0][: len(ids)]
    assert all((a == b).all() for a, b in zip(logits, whole[1], strict=False))


def test_bits_are_those_of_each_alone(decoder, alone):
    for found, whole in zip(stepped(decoder, begin(decoder)), alone, strict=True):
        assert_prefix(found, whole)


def test_bits_are_the_same_in_changing_company(decoder, alone):
    random = np.random.default_rng(3)

    def some(turn, count):
        return random.permutation(count)[: random.integers(1, count + 1)]

    for found, whole in zip(stepped(decoder, begin(decoder), 2 * STEPS, some), alone, strict=True):
        assert len(found[0]) > 2
        assert_prefix(found, whole)


def test_one_that_is_not_a_number_touches_no_other(decoder, alone):
    states = begin(decoder, range(4))
    decoder.step(states, [whole[0][0] for whole in alone[:4]])
    layer = states[1].cache.batch.layers[-1]
    layer.keys = mx.concatenate([layer.keys[:1], layer.keys[1:2] * mx.nan, layer.keys[2:]])
    decoder.step(states, [whole[0][1] for whole in alone[:4]])
    assert np.isnan(decoder.logits(states[1])).all()
    for place in (0, 2, 3):
        assert (decoder.logits(states[place]) == alone[place][1][2]).all()


def test_one_position_off_is_another_sequence(decoder, alone):
    states = begin(decoder, range(2))
    tokens = [whole[0][0] for whole in alone[:2]]
    decoder.step(states, tokens)
    states[0].cache.batch.positions.advance()
    decoder.step(states, [whole[0][1] for whole in alone[:2]])
    assert (decoder.logits(states[0]) != alone[0][1][2]).any()


def test_memory_is_bounded_and_given_back(decoder):
    """A batch has room for the longest in each place, and its rows are counted before."""
    states = begin(decoder)
    stepped(decoder, states, 3)
    batch = ref(states[0].cache.batch)
    assert {id(state.cache.batch) for state in states} == {id(batch())}
    taken = sum(layer.keys.nbytes + layer.values.nbytes for layer in batch().layers)
    assert taken <= decoder.cache_nbytes([size + 3 for size in SIZES])
    decoder.retire(states[2])  # it is kept, as that of a conversation is
    del states[:2], states[1:]
    assert batch() is None
    kept = sum(layer.keys.nbytes + layer.values.nbytes for layer in states[0].cache.layers)
    assert kept <= (SIZES[2] + 3) * decoder.row_nbytes


def test_a_text_in_company_goes_on_from_a_kept_cache(decoder, alone):
    prefix_cache = PrefixCache(decoder)
    rows = decoder.embed_tokens(IDS[5].tolist())
    first = prefix_cache.prefill(DecoderInput(rows, reuse_cache=True))
    others = begin(decoder, range(3))
    for turn in range(3):
        prefix_cache.step([*others, first], [whole[0][turn] for whole in (*alone[:3], alone[5])])
    prefix_cache.retire(first)
    more = IDS[5].tolist() + alone[5][0][:4]
    longer = DecoderInput(decoder.embed_tokens(more), reuse_cache=True)
    state = prefix_cache.prefill(longer)
    np.testing.assert_allclose(decoder.logits(state), alone[5][1][4], rtol=0, atol=CLOSE)
    for place in range(3):
        assert (decoder.logits(others[place]) == alone[place][1][3]).all()


def test_ids_in_company_are_those_of_transformers(tmp_path):
    model = torch_model("gemma3_text")
    lm = load(save(model, tmp_path / "lm"))
    found = stepped(lm.decoder, begin(lm.decoder), 24)
    for place in (0, 1, 3, 5):
        assert found[place][0] == greedy_of_torch(model, IDS[place])


def test_others_are_continued_one_by_one():
    assert continued_alone({"model_type": "qwen3"}) == ""
    assert continued_alone({"model_type": "pixtral"}) == (
        "mlx-lm's pixtral was not tested with several at once"
    )
    rules = {"rope_type": "dynamic", "factor": 2.0}
    assert continued_alone({"model_type": "llama", "rope_scaling": rules}) == (
        "its dynamic positions depend on the length of each"
    )


BY_TYPE = {
    SLIDING: {"rope_theta": 1e4, "rope_type": "default"},
    FULL: {"rope_theta": 1e5, "rope_type": "default"},
}
WINDOWS = {
    "sliding_window": 8,
    "layer_types": [SLIDING, FULL] * 2,
    "rope_parameters": BY_TYPE,
}
EXPERTS = {
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 32,
    "norm_topk_prob": True,
    "decoder_sparse_step": 1,
    "mlp_only_layers": [],
}
CONVOLUTIONS = {
    "conv_bias": False,
    "conv_L_cache": 3,
    "block_dim": 64,
    "block_ff_dim": 96,
    "block_multiple_of": 8,
    "block_ffn_dim_multiplier": 1.0,
    "block_auto_adjust_ff_dim": True,
    "layer_types": ["conv", FULL] * 2,
    "full_attn_idxs": [1, 3],
}
COMMON = {
    "vocab_size": 90,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "rms_norm_eps": 1e-6,
    "norm_eps": 1e-6,
    "rope_theta": 1e4,
    "max_position_embeddings": 512,
    "tie_word_embeddings": True,
}
ARCHITECTURES = {
    "gemma3_text": {"sliding_window": 8, "sliding_window_pattern": 3, "query_pre_attn_scalar": 16},
    "laguna": WINDOWS
    | EXPERTS
    | {
        "shared_expert_intermediate_size": 32,
        "mlp_layer_types": ["dense", "sparse", "sparse", "sparse"],
        "gating": True,
    },
    "lfm2": CONVOLUTIONS,
    "lfm2_moe": CONVOLUTIONS
    | EXPERTS
    | {"num_dense_layers": 1, "use_expert_bias": True, "routed_scaling_factor": 1.0},
    "llama": {},
    "mellum": WINDOWS | EXPERTS,
    "ministral3": {
        "layer_types": [FULL] * 4,
        "rope_parameters": {
            "rope_theta": 1e4,
            "rope_type": "default",
            "llama_4_scaling_beta": 0.1,
            "original_max_position_embeddings": 16,
        },
    },
    "mixtral": {"num_local_experts": 4, "num_experts_per_tok": 2},
    "qwen2": {},
    "qwen3": {},
    "qwen3_5": {
        "text_config": COMMON
        | {
            "model_type": "qwen3_5",
            "linear_num_value_heads": 4,
            "linear_num_key_heads": 2,
            "linear_key_head_dim": 16,
            "linear_value_head_dim": 16,
            "linear_conv_kernel_dim": 4,
            "full_attention_interval": 2,
            "layer_types": ["linear_attention", FULL] * 2,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 1e4,
                "partial_rotary_factor": 0.5,
                "mrope_section": [2, 1, 1],
            },
        }
    },
    "qwen3_moe": EXPERTS,
    "smollm3": {"no_rope_layers": [1, 1, 1, 0], "no_rope_layer_interval": 4},
    "telechat3": {},
}


def test_every_architecture_is_compared():
    assert set(ARCHITECTURES) == TOGETHER


@pytest.mark.slow
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_architecture_has_the_bits_that_it_has_alone(name):
    """Also states of convolutions and linear attention, and experts."""
    module = import_module(f"mlx_lm.models.{name}")
    settings = COMMON | {"model_type": name} | ARCHITECTURES[name]
    model = module.Model(module.ModelArgs.from_dict(settings))
    mx.random.seed(0)

    def random(path, value):
        return mx.random.normal(value.shape) * 0.3 + ("norm" in path)

    model.update(tree_map_with_path(random, model.parameters()))
    model.eval()
    if name == "ministral3":
        pass_ids_with_embeddings(model)
    table = mx.random.normal((90, 64))
    given = [model, mx.default_device(), lambda ids: {"input_embeddings": table[ids]}, None, 16]
    decoder, one_by_one = (MlxLmDecoder(*given, batches=several) for several in (True, False))
    assert decoder.batches
    for number, found in enumerate(stepped(decoder, begin(decoder))):
        assert_prefix(found, stepped(decoder, begin(decoder, [number]))[0])
        theirs = stepped(one_by_one, begin(one_by_one, [number]))[0]
        assert found[0] == theirs[0]
        np.testing.assert_allclose(found[1], theirs[1], rtol=0, atol=1e-4 * np.abs(theirs[1]).max())
