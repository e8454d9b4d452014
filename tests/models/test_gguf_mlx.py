"""Decoders in GGUF files on mlx-lm against transformers with the weights that gguf dequantizes."""

import json

import mlx.core as mx
import numpy as np
import pytest
from gguf import GGMLQuantizationType
from gguf.quants import dequantize as theirs_dequantize
from mlx.utils import tree_flatten

from composer.components.checkpoints import ggml_affine
from composer.components.checkpoints.ggml_affine import FIVE, pack_blocks
from composer.components.checkpoints.ggml_blocks import PACKED, SIZES
from composer.components.mlx.lm import MlxLanguageModel
from composer.components.mlx.lm_facts import MlxLmConfig
from composer.core.component import Spec
from composer.core.location import Location
from composer.core.placement import Placement
from composer.core.quantization_recipe import QuantizationRecipe
from composer.formats import Headers
from tests.components.checkpoint_files import write_tokenizer
from tests.formats.making import refusal
from tests.models.decoders import away, save, their_greedy, theirs
from tests.models.test_gguf import IDS, build, written
from tests.streams import ids_of

pytestmark = pytest.mark.usefixtures("one_thread")
CLOSE, COUNT = 1e-4, 24
CASES = [("llama", "q4_k_m"), ("qwen2", "q8_0"), ("qwen3", "iq4"), ("gemma2", "q4_0"),
         ("gemma3", "others")]  # fmt: skip


def spec(file, precision=None):
    write_tokenizer(file.parent, 160)
    tokenizer = Location("tokenizer", "", file.parent)
    place = Location("repo", file.name, file.parent)
    return Spec("decoder", MlxLmConfig(), place, tokenizer, precision)


def load(file, precision=None):
    found = spec(file, precision)
    facts = MlxLanguageModel.facts(found, Headers())
    return MlxLanguageModel.load(found, facts, Placement(device="cpu"))


def logits(lm):
    return np.array(lm.logits(lm.embed(mx.array(IDS))))


@pytest.mark.parametrize(("architecture", "kind"), CASES)
def test_it_is_what_transformers_computes_in_any_chunks(architecture, kind, tmp_path):
    file, model = written(architecture, kind, tmp_path)
    lm = load(file)
    assert away(logits(lm), theirs(model, IDS)) < CLOSE
    expected = their_greedy(model, IDS, count=COUNT)
    for chunk in (7, 64):
        lm.decoder.chunk = chunk
        embeds = lm.embed(mx.array(IDS))
        assert ids_of(lm.generate(embeds, max_tokens=COUNT, stop=())) == expected, chunk


def draw(dtype):
    """Return rows of random blocks whose scales are numbers."""
    raw = np.random.default_rng(3).integers(0, 256, (7, 40 * SIZES[dtype][1]), np.uint8)
    blocks = raw.reshape(-1, SIZES[dtype][1])
    blocks[:, 1] &= 0xBF  # an exponent that is not that of infinity
    if PACKED[dtype][1] == "affine":
        blocks[:, 3] &= 0xBF
    return raw


@pytest.mark.parametrize("dtype", PACKED)
def test_mlx_dequantizes_packed_blocks_to_ggufs_numbers_in_every_bit(dtype):
    raw, bits = draw(dtype), 5 if dtype in FIVE else PACKED[dtype][0]
    parts = map(mx.array, pack_blocks(raw, dtype, bits))
    found = np.array(mx.dequantize(*parts, group_size=32, bits=bits))
    expected = theirs_dequantize(raw, GGMLQuantizationType[dtype.upper()])
    assert np.isfinite(expected).all()
    np.testing.assert_array_equal(found, expected)


def codes_in_the_order_of_ggml(raw, dtype, bits):
    """Take nibbles as ggml has them: the first half of a block before the second."""
    weight, *rest = pack_blocks(raw, dtype, bits)
    codes = weight.view(np.uint8).reshape(-1, 16)
    nibbles = np.concatenate([codes[:, 0::2], codes[:, 1::2]], axis=1)
    return nibbles.reshape(len(raw), -1).view("<u4"), *rest


def no_smallest_number(raw, dtype, bits):
    weight, scales, biases = pack_blocks(raw, dtype, bits)
    return weight, scales, np.zeros_like(biases)


@pytest.mark.parametrize("wrong", [codes_in_the_order_of_ggml, no_smallest_number])
def test_blocks_that_are_packed_otherwise_give_other_numbers(wrong, tmp_path, monkeypatch):
    file, model = written("llama", "q4_k_m", tmp_path)
    monkeypatch.setattr(ggml_affine, "pack_blocks", wrong)
    assert away(logits(load(file)), theirs(model, IDS)) > 100 * CLOSE


def test_what_is_packed_and_what_is_widened_is_reported(tmp_path):
    """Beside `precision` that is float32; blocks stay as they were written."""
    file, _ = written("qwen3", "q4_k_m", tmp_path)
    facts = MlxLanguageModel.facts(spec(file), Headers())
    forms = {(group.form, group.packed) for group in facts.weights}
    assert forms == {("4 bits, groups of 32", True), ("5 bits, groups of 32", True), ("f32", False)}
    assert [cast.partition(":")[0] for cast in facts.casts] == [
        "q6_k -> f32, exactly, in 3 modules"
    ]
    assert facts.dtype == "f32"
    half = MlxLanguageModel.facts(spec(file, "bfloat16"), Headers())
    assert [cast.partition(":")[0] for cast in half.casts] == ["q6_k -> bf16 in 3 modules"]
    assert half.dtype == "bf16"
    assert half.nbytes < facts.nbytes
    lm = load(file, "bfloat16")
    assert lm.embed(mx.array(IDS)).dtype == mx.bfloat16
    assert "W246 a GGUF file is packed as it was written" in refusal(
        lambda: MlxLanguageModel.facts(spec(file, QuantizationRecipe(bits=4)), Headers())
    )


def test_loaded_bytes_are_those_that_the_plan_says(tmp_path):
    file, _ = written("llama", "others", tmp_path)
    lm = load(file)
    sizes = [array.nbytes for _, array in tree_flatten(lm.model.parameters())]
    assert sum(sizes) == MlxLanguageModel.facts(spec(file), Headers()).nbytes


def test_gemma_2_without_a_bound_is_refused(tmp_path):
    """mlx-lm bounds attention and logits always; a folder may say that nothing does."""
    folder = save(build("gemma2"), tmp_path / "lm")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"attn_logit_softcapping": None}))
    assert "W257 mlx-lm's gemma2 has no logits without attn_logit_softcapping" in refusal(
        lambda: MlxLanguageModel.facts(spec(folder), Headers())
    )


@pytest.mark.parametrize("change", [{"layer_types": ["full_attention"] * 2},
                                    {"attn_logit_softcapping": 50.0}])  # fmt: skip
def test_gemma_2_of_another_window_or_bound_gives_other_numbers(change, tmp_path):
    model = build("gemma2")
    folder = save(model, tmp_path / "lm")
    assert away(logits(load(folder)), theirs(model, IDS)) < CLOSE
    config = json.loads((folder / "config.json").read_text()) | change
    (folder / "config.json").write_text(json.dumps(config))
    assert away(logits(load(folder)), theirs(model, IDS)) > 10 * CLOSE
