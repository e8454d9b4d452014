"""Quantized weights are those of MLX, and what is widened is stated."""

import mlx.core as mx
import numpy as np
import pytest
import torch

from composer.components.checkpoints import affine
from composer.formats import Headers
from composer.formats.quantization import Scheme
from tests.components.mlx_lm.models import IDS, SCHEMES, f32, greedy, quantized, save, torch_model
from tests.components.mlx_lm.models import load as load_mlx
from tests.components.onnx_lm.loading import facts_of, load, logits_of_torch, separate_store, spec

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("name", SCHEMES)
@pytest.mark.parametrize("tied", [True, False])
def test_quantized_weights_are_those_of_mlx(tmp_path, name, tied):
    folder = quantized(torch_model(tied=tied), tmp_path / "lm", *SCHEMES[name])
    ours, theirs = load(folder), load_mlx(folder)
    embeds, ids = ours.embed(IDS), mx.array(IDS)
    assert separate_store(embeds, f32(theirs.embed(ids))) < 1e-6
    assert separate_store(ours.logits(embeds), f32(theirs.logits(theirs.embed(ids)))) < 1e-5
    assert greedy(ours, embeds) == greedy(theirs, theirs.embed(ids))


@pytest.mark.parametrize(
    "packing", [(64, 6, "affine"), (32, 3, "affine"), (32, 4, "mxfp4"), (32, 8, "mxfp8"),
                (16, 4, "nvfp4")], ids=str,
)  # fmt: skip
def test_packings_that_are_not_multiplied_are_widened(tmp_path, packing):
    from mlx_lm.utils import load_model, quantize_model, save_config, save_model

    size, bits, mode = packing
    made, config = load_model(save(torch_model(), tmp_path / "lm"))
    made, config = quantize_model(made, config, size, bits, mode=mode)
    save_model(tmp_path / "lm", made)
    save_config(config, tmp_path / "lm/config.json")
    (tmp_path / "lm/model.safetensors.index.json").unlink(missing_ok=True)
    ours, theirs = load(tmp_path / "lm"), load_mlx(tmp_path / "lm")
    wanted = f32(theirs.logits(theirs.embed(mx.array(IDS))))
    assert separate_store(ours.logits(ours.embed(IDS)), wanted) < 1e-4
    (cast,) = [each for each in facts_of(tmp_path / "lm").casts if "groups" in each]
    form = f"{bits} bits" if mode == "affine" else mode
    assert cast.startswith(f"{form}, groups of {size} -> f32, exactly, in 22 modules: ")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_scales_of_half_width_are_taken_exactly(tmp_path, dtype):
    """There MLX's biases are no whole multiples of their scales any more."""
    from mlx_lm.utils import load_model, quantize_model, save_config, save_model

    made, config = load_model(save(torch_model(), tmp_path / "lm", dtype))
    made, config = quantize_model(made, config, *SCHEMES["mixed 8-4"][:2],
                                  quant_predicate=SCHEMES["mixed 8-4"][2])  # fmt: skip
    save_model(tmp_path / "lm", made)
    save_config(config, tmp_path / "lm/config.json")
    (tmp_path / "lm/model.safetensors.index.json").unlink()
    ours, theirs = load(tmp_path / "lm"), load_mlx(tmp_path / "lm", "float32")
    wanted = f32(theirs.logits(theirs.embed(mx.array(IDS))))
    embeds = ours.embed(IDS)
    assert separate_store(ours.logits(embeds), wanted) < 1e-5
    assert greedy(ours, embeds) == greedy(theirs, theirs.embed(mx.array(IDS)))


@pytest.mark.parametrize("bits", [2, 3, 4, 5, 6, 8])
@pytest.mark.parametrize("size", [32, 64, 128])
def test_packed_rows_are_read_as_mlx_reads_them(bits, size):
    scheme = Scheme(bits, size, "affine")
    rows = mx.random.normal((6, 384), key=mx.random.key(1))
    weight, scales, biases = map(np.array, mx.quantize(rows, group_size=size, bits=bits))
    wanted = np.array(mx.dequantize(*map(mx.array, (weight, scales, biases)), size, bits))
    np.testing.assert_allclose(affine.dequantize(weight, scales, biases, scheme), wanted, atol=1e-6)
    wrong = affine.dequantize(weight, scales, np.roll(biases, 1), scheme)
    assert np.abs(wrong - wanted).max() > 0.1
    if bits not in (4, 8):  # ONNX Runtime multiplies codes of these alone
        return
    codes = affine.codes(weight, scheme)
    assert codes.shape == (6, 384 // size, size * bits // 8)
    if bits == 8:
        codes = codes.astype(np.float32) - 128
    else:
        codes = np.stack([codes & 15, codes >> 4], -1).reshape(6, -1, size).astype(np.float32) - 8
    offset = affine.residual_offset(scales, biases, scheme)
    found = codes * scales[..., None] + offset[..., None]
    np.testing.assert_allclose(found.reshape(6, -1), wanted, atol=1e-5)


def test_int8_activations_are_another_choice(mixed):
    exact, quick = load(mixed), load(mixed, activations="int8")
    embeds = exact.embed(IDS)
    assert 1e-4 < separate_store(quick.logits(embeds), exact.logits(embeds)) < 0.1
    assert facts_of(mixed, activations="int8").nbytes < facts_of(mixed).nbytes


def test_what_is_widened_is_reported_and_counted(mixed, tmp_path):
    assert facts_of(mixed).casts == facts_of(mixed).notes == ()
    assert facts_of(mixed, activations="int8").casts == facts_of(mixed).casts
    half = save(torch_model(num_hidden_layers=1), tmp_path / "half", torch.bfloat16)
    facts = facts_of(half)
    assert facts.casts[0].startswith("bf16 -> f32, exactly, in 12 modules: ")
    assert facts.casts[1] == (
        "bf16 -> 20 bits, to 2**-19 of the largest of 64, in model.embed_tokens: 0.0246 MB stored, "
        "0.0384 MB loaded"
    )
    stored = Headers().safetensors(spec(half).weights).values()
    head = 192 * 64
    others = sum(tensor.nbytes for tensor in stored) - 2 * head
    assert (facts.dtype, facts.nbytes) == ("f32", 2 * others + head * 5 // 2 + 192 * (24 + 16))


def test_bfloat16_is_widened_exactly(tmp_path):
    model = torch_model()
    with torch.no_grad():
        for value in model.parameters():
            value.copy_(value.bfloat16())
    lm = load(save(model, tmp_path / "lm", torch.bfloat16))
    embeds = lm.embed(IDS)
    np.testing.assert_array_equal(embeds, model.get_input_embeddings().weight.detach()[IDS])
    assert separate_store(lm.logits(embeds), logits_of_torch(model)) < 1e-5
