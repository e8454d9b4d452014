"""Gemma-4's decoder in llama.cpp's GGUF files against transformers with the file's weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from composer.components.checkpoints.gemma4.checkpoint import read_decoder
from composer.components.mlx.gemma4 import MlxGemma4
from composer.components.onnx.gemma4 import OnnxGemma4
from composer.core.location import Location
from composer.core.quantization_recipe import QuantizationRecipe
from composer.formats import Headers
from tests.components.checkpoint_files import write_tokenizer
from tests.components.gemma4_models import ROWS, config_of, torch_model
from tests.formats.making import refusal
from tests.models.decoders import away
from tests.reference import llama_cpp
from tests.reference.gemma4_gguf import KINDS, facts, load, spec
from tests.streams import outputs

pytestmark = pytest.mark.usefixtures("one_thread")
IDS = np.random.default_rng(0).integers(3, ROWS, 30)
COUNT, CLOSE = 24, 1e-4
# Rows of whole blocks of every type; the release's are too.
WIDE = {
    "hidden_size": 256,
    "intermediate_size": 256,
    "head_dim": 64,
    "global_head_dim": 128,
    "hidden_size_per_layer_input": 256,
    "initializer_range": 0.08,
}
LARGE = WIDE | {"hidden_size_per_layer_input": 0}


def mixed(name):
    """Some types of llama.cpp's Q4_K_M and others, the tables' among them."""
    if name == "per_layer_token_embd.weight":
        return "q5_k"
    if name == "token_embd.weight":
        return "q8_0"
    if "attn_v" in name:
        return "q6_k"
    return "bf16" if "per_layer_model_proj" in name else "q4_k"


TYPES = {
    "q8_0": lambda name: "q8_0",
    "q4_k_m": mixed,
    "f16": lambda name: "f16",
    "others": lambda name: ["q4_0", "q5_0", "q5_1", "q4_1", "q3_k"][sum(name.encode()) % 5],
}
CASES = [("e2b", "q8_0"), ("e2b", "others"), ("e4b", "q4_k_m"), ("31b", "q8_0"), ("31b", "f16")]


def built(kind):
    """Return a model of transformers and its config, in sizes that take every type."""
    sizes = LARGE if kind in ("26b", "31b") else WIDE
    model = torch_model(kind, **sizes)
    return model, config_of(model, kind, global_head_dim=sizes["global_head_dim"])


def written(kind, stored, folder, change=None):
    """Return a file and the model of transformers with the weights that it stands for."""
    model, config = built(kind)
    file = folder / "gemma-4.gguf"
    meant = llama_cpp.write_text(model.state_dict(), config, file, TYPES[stored], change)
    if change is None:
        missing, unexpected = model.load_state_dict(meant, strict=False)
        assert (missing, unexpected) == (["lm_head.weight"], [])
        model.tie_weights()
    write_tokenizer(folder, ROWS)
    return file, model


def prompt(lm, ids=IDS):
    return (lm.embed(ids), lm.per_layer(ids)) if lm.table else (lm.embed(ids),)


@torch.no_grad()
def expected(model):
    return model(torch.tensor(IDS)[None], use_cache=False).logits[0].numpy()


@torch.no_grad()
def greedy(model):
    ids = IDS.tolist()
    for _ in range(COUNT):
        ids.append(int(model(torch.tensor([ids]), use_cache=False).logits[0, -1].argmax()))
    return ids[-COUNT:]


@pytest.fixture(scope="module", params=CASES, ids=lambda case: "-".join(case))
def theirs(request, tmp_path_factory):
    file, model = written(*request.param, tmp_path_factory.mktemp("llama_cpp"))
    return file, model, expected(model), greedy(model)


@pytest.fixture(scope="module", params=KINDS)
def pair(request, theirs):
    file, *known = theirs
    return load(file, request.param), *known


def test_every_stage_and_greedy_ids_are_those_of_transformers_in_any_chunks(pair, monkeypatch):
    lm, model, want, ids = pair
    tokens = torch.tensor(IDS)
    with torch.no_grad():
        assert away(lm.embed(IDS), model.model.embed_tokens(tokens).numpy()) < 1e-6
        if lm.table:
            rows = model.model.get_per_layer_inputs(tokens).numpy()
            assert away(lm.per_layer(IDS), rows) < 1e-6
    assert len(set(ids)) > 4
    for chunk in (1, 7, 64, 512) if isinstance(lm, OnnxGemma4) else (7, 512):
        monkeypatch.setattr(lm.decoder, "chunk", chunk)
        assert away(lm.logits(*prompt(lm)), want) < CLOSE, chunk
        found = outputs(lm.generate(*prompt(lm), max_tokens=COUNT, stop=()))[1]["ids"]
        assert found.tolist() == ids, chunk


@pytest.mark.parametrize("backend", KINDS)
def test_types_with_a_kernel_stay_packed(backend, tmp_path):
    file, _ = written("e2b", "q8_0", tmp_path)
    assert facts(file, backend).casts == ()
    file, _ = written("e4b", "q4_k_m", tmp_path)
    assert [cast.partition(":")[0] for cast in facts(file, backend).casts] == [
        "bf16 -> f32, exactly, in 1 modules",
        "q6_k -> f32, exactly, in 3 modules",
    ]


def without_divisors(metadata, tensors):
    tensors["rope_freqs.weight"][:] = 1


def without_scales(metadata, tensors):
    for name in tensors:
        if name.endswith("layer_output_scale.weight"):
            tensors[name] = np.ones(1, np.float32)


def less_shared(metadata, tensors):
    """Let layer 3 have keys and values, those that the release stores and nobody reads."""
    metadata["gemma4.attention.shared_kv_layers"] = 2
    for name in ("attn_k", "attn_v", "attn_k_norm"):
        stored = tensors[f"blk.0.{name}.weight"]
        tensors[f"blk.3.{name}.weight"] = np.flip(stored, 0).copy()


def other_per_layer_norm(metadata, tensors):
    tensors["per_layer_proj_norm.weight"][:] = 1


def one_base(metadata, tensors):
    metadata["gemma4.rope.freq_base_swa"] = metadata["gemma4.rope.freq_base"]


def no_window(metadata, tensors):
    metadata["gemma4.attention.sliding_window"] = 512


def raised_norms(metadata, tensors):
    """Add 1, as Gemma-3's converter does."""
    for name in tensors:
        if name.endswith("norm.weight"):
            tensors[name] = tensors[name] + 1


CONTROLS = [without_divisors, without_scales, less_shared, other_per_layer_norm, one_base,
            no_window, raised_norms]  # fmt: skip


@pytest.fixture(scope="module")
def right():
    return expected(built("e4b")[0])


@pytest.mark.parametrize("change", CONTROLS, ids=lambda each: each.__name__)
def test_a_file_that_says_something_else_gives_other_numbers(change, right, tmp_path):
    def plain(metadata, tensors):
        """Change nothing."""

    model, config = built("e4b")
    found = []
    for each in (plain, change):
        file = tmp_path / f"{each.__name__}.gguf"
        llama_cpp.write_text(model.state_dict(), config, file, change=each)
        write_tokenizer(tmp_path, ROWS)
        lm = load(file)
        found.append(away(lm.logits(*prompt(lm)), right))
    assert found[0] < CLOSE
    assert found[1] > 100 * CLOSE


def test_other_ids_of_the_per_layer_table_give_other_numbers(right, tmp_path):
    model, config = built("e4b")
    llama_cpp.write_text(model.state_dict(), config, tmp_path / "model.gguf")
    write_tokenizer(tmp_path, ROWS)
    lm = load(tmp_path / "model.gguf")
    shifted = lm.logits(lm.embed(IDS), lm.per_layer(IDS - 1))
    assert away(shifted, right) > 100 * CLOSE


def test_keys_and_values_of_layers_that_share_are_not_read(right, tmp_path):
    """The release stores them for every layer."""

    def dead(metadata, tensors):
        for number in (3, 4, 5):
            for name in ("attn_k", "attn_v", "attn_k_norm"):
                like = tensors[f"blk.{number - 3}.{name}.weight"]
                tensors[f"blk.{number}.{name}.weight"] = np.full_like(like, np.nan)

    model, config = built("e4b")
    llama_cpp.write_text(model.state_dict(), config, tmp_path / "model.gguf", change=dead)
    write_tokenizer(tmp_path, ROWS)
    lm = load(tmp_path / "model.gguf")
    assert away(lm.logits(*prompt(lm)), right) < CLOSE


def read(kind, folder, change=None):
    model, config = built(kind)
    file = folder / "model.gguf"
    llama_cpp.write_text(model.state_dict(), config, file, change=change)
    return lambda: read_decoder(Location("repo", file.name, folder), Headers())


@pytest.mark.parametrize("kind", ["e2b", "e4b", "26b", "31b"])
def test_settings_are_those_of_the_config(kind, tmp_path):
    args = read(kind, tmp_path)().settings.args
    _, config = built(kind)
    for key in ("layer_types", "num_kv_shared_layers", "use_double_wide_mlp", "head_dim",
                "global_head_dim", "intermediate_size", "num_key_value_heads", "rope_parameters",
                "sliding_window", "final_logit_softcapping", "enable_moe_block", "num_experts",
                "num_global_key_value_heads", "hidden_size_per_layer_input", "vocab_size",
                "moe_intermediate_size", "top_k_experts", "attention_k_eq_v"):  # fmt: skip
        assert args[key] == config.get(key), key
    assert read(kind, tmp_path)().settings.bidirectional == (kind in ("26b", "31b"))


def test_ends_are_found_by_their_texts_too(tmp_path):
    def named(metadata, tensors):
        metadata["tokenizer.ggml.tokens"] = ["<pad>", "<eos>", *"abcdef", "<turn|>"]
        metadata["tokenizer.ggml.eos_token_id"] = 8

    assert read("e4b", tmp_path, named)().checkpoint.stop == {1, 8}


def unknown_key(metadata, tensors):
    metadata["gemma4.attention.temperature_scale"] = 2.0


def other_divisors(metadata, tensors):
    tensors["rope_freqs.weight"][3] = 2


def fewer_divisors(metadata, tensors):
    tensors["rope_freqs.weight"] = tensors["rope_freqs.weight"][:-1]


def no_divisors(metadata, tensors):
    del tensors["rope_freqs.weight"]


def part_of_a_head(metadata, tensors):
    metadata["gemma4.rope.dimension_count_swa"] = 16


def other_values(metadata, tensors):
    metadata["gemma4.attention.value_length"] = 64


def uneven_widths(metadata, tensors):
    metadata["gemma4.feed_forward_length"] = [256, 512, 256, 256, 256, 256]


def uneven_heads(metadata, tensors):
    metadata["gemma4.attention.head_count_kv"] = [2, 1, 2, 2, 2, 2]


def missing_tensor(metadata, tensors):
    del tensors["blk.1.inp_gate.weight"]


def strange_tensor(metadata, tensors):
    tensors["blk.1.ffn_sub_norm.weight"] = np.ones(256, np.float32)


def one_name_twice(metadata, tensors):
    tensors["model.norm.weight"] = tensors["output_norm.weight"]


IN_SAFETENSORS = "\n    hint: give the checkpoint that it was converted from, in safetensors"
DIVISORS = (
    "W257 rope_freqs.weight holds other divisors than Gemma-4's: 1 for the pairs that are turned, "
    "then 1e30" + IN_SAFETENSORS
)
UNREAD = "\n    hint: if it changes nothing in these weights, take it out of the config"
REFUSED = {
    unknown_key: "W257 composer's gemma4 does not read gemma4.attention.temperature_scale, which "
    "is 2.0" + UNREAD,
    other_divisors: DIVISORS,
    fewer_divisors: DIVISORS,
    no_divisors: "W275 rope_parameters of full_attention is {'rope_type': 'proportional', ",
    part_of_a_head: "W257 composer's gemma4 does not read gemma4.rope.dimension_count_swa, which "
    "is 16" + UNREAD,
    other_values: "W257 composer's gemma4 does not read gemma4.attention.value_length, which is 64"
    + UNREAD,
    uneven_widths: "W275 intermediate_size is [256, 512, 256, 256, 256, 256]; expected 1 or more",
    uneven_heads: "W275 num_key_value_heads is [2, 1, 2, 2, 2, 2]; expected 1 or more",
    one_name_twice: "W241 has two tensors that are the checkpoint's model.norm.weight",
    missing_tensor: "W277 1 tensor is missing: layers.1.per_layer_input_gate.weight",
    strange_tensor: "W278 1 tensor is neither the decoder's nor a tower's: "
    "blk.1.ffn_sub_norm.weight",
}


@pytest.mark.parametrize("change", REFUSED, ids=lambda each: each.__name__)
def test_it_refuses(change, tmp_path):
    assert REFUSED[change] in refusal(read("e4b", tmp_path, change))


def test_experts_are_not_computed_on_onnx_runtime(tmp_path):
    model, config = built("26b")
    llama_cpp.write_text(model.state_dict(), config, tmp_path / "model.gguf")
    write_tokenizer(tmp_path, ROWS)
    found = refusal(lambda: OnnxGemma4.facts(spec(tmp_path / "model.gguf"), Headers()))
    assert found == (
        "repo/model.gguf: W254 composer has no network of its own for Gemma-4 with experts\n"
        "    num_experts 8 comes from it\n"
        "    hint: use mlx.gemma4, which takes it"
    )


def test_experts_are_computed_on_mlx(tmp_path):
    """Both halves of an expert's joined rows, packed in 5 bits, are those of transformers."""
    file, model = written("26b", "others", tmp_path)
    lm = load(file, "mlx")
    assert away(lm.logits(lm.embed(IDS)), expected(model)) < CLOSE
    assert (
        outputs(lm.generate(lm.embed(IDS), max_tokens=8, stop=()))[1]["ids"].tolist()
        == (greedy(model)[:8])
    )


@pytest.mark.parametrize("dtype", [None, "bfloat16"])
def test_a_per_layer_table_in_memory_gives_the_numbers_of_one_in_its_file(dtype, tmp_path):
    file, _ = written("e4b", "q4_k_m", tmp_path)
    rows = load(file, "mlx", dtype).per_layer(IDS)
    loaded = load(file, "mlx", dtype, tables="loaded").per_layer(IDS)
    np.testing.assert_array_equal(loaded, rows)


def test_a_recipe_is_refused_on_mlx_too(tmp_path):
    file, _ = written("e4b", "q8_0", tmp_path)
    recipe = spec(file, MlxGemma4, QuantizationRecipe(bits=4))
    assert "W246 a GGUF file is packed as it was written" in refusal(
        lambda: MlxGemma4.facts(recipe, Headers())
    )
