"""Adapters that do not belong to their decoder, each with its reason."""

import numpy as np
import pytest

from tests.components.adapter_facts.reading import (
    CONFIG,
    FILE,
    HAS,
    SCALE,
    SOME,
    W,
    error_text,
    read,
)
from tests.components.adapter_files import (
    LAYERS,
    MODULES,
    RANK,
    as_peft,
    matrices,
    mlx_lm_config,
    peft_config,
    write_adapter,
)

Q = "model.layers.0.self_attn.q_proj"
ALL = ", ".join(MODULES)
HINT = (
    "    hint: lora_a is [in, rank] and lora_b [rank, out]; lora_A is [rank, in] and "
    "lora_B [out, rank]"
)
PARTS = "    hint: wanted names that end in lora_a and lora_b, or lora_A.weight and lora_B.weight"


def zeros(*shape, dtype=np.float32):
    return np.zeros(shape, dtype)


BAD = {
    "the config says another rank": (
        W,
        mlx_lm_config(rank=8),
        f"{FILE}: W289 the rank is 4, but {CONFIG} says 8\n"
        "    4 comes from model.layers.0.mlp.down_proj.lora_a f32 [96, 4]\n"
        f"    8 comes from lora_parameters.rank in {CONFIG}",
    ),
    "A and B have other ranks": (
        W | {f"{Q}.lora_a": zeros(64, 8)},
        mlx_lm_config(),
        f"{FILE}: W289 self_attn.q_proj: A has rank 8 but B has 4\n"
        f"    adapter: {Q}.lora_a f32 [64, 8]\n"
        f"    adapter: {Q}.lora_b f32 [4, 64]",
    ),
    "one module has another rank": (
        W | {f"{Q}.lora_a": zeros(64, 8), f"{Q}.lora_b": zeros(8, 64)},
        mlx_lm_config(),
        f"{FILE}: W289 ranks differ: 4 and 8\n"
        "    adapter: model.layers.0.mlp.down_proj.lora_a f32 [96, 4]\n"
        f"    adapter: {Q}.lora_a f32 [64, 8]",
    ),
    "A is of another width": (
        matrices({**MODULES, "mlp.down_proj": (64, 64)}),
        mlx_lm_config(),
        f"{FILE}: W290 mlp.down_proj: A takes 64 but the decoder's takes 96, in 4 modules\n"
        "    adapter: model.layers.0.mlp.down_proj.lora_a f32 [64, 4]\n"
        "    decoder: repo/lm: model.layers.0.mlp.down_proj.weight f32 [64, 96]",
    ),
    "A is transposed": (
        W | {f"{Q}.lora_a": W[f"{Q}.lora_a"].T},
        mlx_lm_config(),
        f"{FILE}: W290 self_attn.q_proj: the axes of A or B are exchanged\n"
        f"    adapter: {Q}.lora_a f32 [4, 64]\n"
        f"    adapter: {Q}.lora_b f32 [4, 64]\n"
        f"    decoder: repo/lm: {Q}.weight f32 [64, 64]\n"
        f"{HINT}",
    ),
    "a target that the decoder does not have": (
        matrices({**MODULES, "self_attn.qkv_proj": (64, 64)}),
        mlx_lm_config(),
        f"{FILE}: W288 the decoder has no self_attn.qkv_proj, in 4 modules\n"
        "    adapter: model.layers.0.self_attn.qkv_proj.lora_a f32 [64, 4]\n"
        f"{HAS}\n"
        "    hint: did you mean self_attn.v_proj?",
    ),
    "layers that the decoder does not have": (
        matrices(layers=range(5)),
        mlx_lm_config(layers=-1),
        f"{FILE}: W288 the decoder has 4 layers, but there is a layer 4, in 7 modules\n"
        "    adapter: model.layers.4.mlp.down_proj.lora_a f32 [96, 4]\n"
        f"{HAS}",
    ),
    "a target outside the layers": (
        W | {"norm.lora_a": zeros(64, 4), "norm.lora_b": zeros(4, 96)},
        mlx_lm_config(),
        f"{FILE}: W288 norm is outside the decoder's layers\n"
        "    adapter: norm.lora_a f32 [64, 4]\n"
        f"{HAS}\n"
        "    hint: adapters go on the projections inside the layers",
    ),
    "the config names a target that the decoder does not have": (
        W,
        mlx_lm_config(keys=(*MODULES, "self_attn.qkv_proj")),
        f"{FILE}: W288 {CONFIG} names self_attn.qkv_proj, which the decoder does not have\n{HAS}",
    ),
    "B is missing": (
        {name: value for name, value in W.items() if name != f"{Q}.lora_b"},
        mlx_lm_config(),
        f"{FILE}: W291 self_attn.q_proj has lora_a alone\n    adapter: {Q}.lora_a f32 [64, 4]",
    ),
    "a layer is missing": (
        matrices(layers=range(1, LAYERS)),
        mlx_lm_config(),
        f"{FILE}: W292 7 modules are missing: layers.0.mlp.down_proj, layers.0.mlp.gate_proj, "
        "layers.0.mlp.up_proj, layers.0.self_attn.k_proj, layers.0.self_attn.o_proj, "
        "layers.0.self_attn.q_proj, layers.0.self_attn.v_proj\n"
        f"    {CONFIG} means {ALL} in all 4 layers\n"
        "    adapter: 21 modules, such as model.layers.1.mlp.down_proj.lora_a f32 [96, 4]",
    ),
    "every other layer is missing": (
        matrices(SOME, (0, 2)),
        mlx_lm_config(keys=None),
        f"{FILE}: W292 4 modules are missing: layers.1.mlp.down_proj, layers.1.self_attn.q_proj, "
        "layers.3.mlp.down_proj, layers.3.self_attn.q_proj\n"
        f"    {CONFIG} means mlp.down_proj, self_attn.q_proj, which are those of its tensors, in "
        "all 4 layers\n"
        "    adapter: 4 modules, such as model.layers.0.mlp.down_proj.lora_a f32 [96, 4]",
    ),
    "a target is missing": (
        matrices(SOME, (2, 3)),
        mlx_lm_config(2, keys=(*SOME, "mlp.up_proj")),
        f"{FILE}: W292 2 modules are missing: layers.2.mlp.up_proj, layers.3.mlp.up_proj\n"
        f"    {CONFIG} means self_attn.q_proj, mlp.down_proj, mlp.up_proj in the last 2 of 4 "
        "layers\n"
        "    adapter: 4 modules, such as model.layers.2.mlp.down_proj.lora_a f32 [96, 4]",
    ),
    "more than the config means": (
        matrices(SOME),
        mlx_lm_config(3, keys=SOME),
        f"{FILE}: W292 2 modules are not meant to be there: layers.0.mlp.down_proj, "
        "layers.0.self_attn.q_proj\n"
        f"    {CONFIG} means self_attn.q_proj, mlp.down_proj in the last 3 of 4 layers\n"
        "    adapter: 8 modules, such as model.layers.0.mlp.down_proj.lora_a f32 [96, 4]",
    ),
    "a tensor of the base": (
        W | {"model.norm.weight": zeros(64)},
        mlx_lm_config(),
        f"{FILE}: W293 tensors that are no part of a low-rank update: model.norm.weight f32 [64]\n"
        f"{PARTS}",
    ),
    "the magnitude of one module": (
        W | {f"{Q}.m": zeros(64)},
        mlx_lm_config(fine_tune_type="dora"),
        f"{FILE}: W293 {CONFIG} says DoRA, but there is no magnitude, in 27 modules\n"
        "    adapter: model.layers.0.mlp.down_proj.lora_a f32 [96, 4]",
    ),
    "a magnitude without DoRA": (
        W | {f"{Q}.m": zeros(64)},
        mlx_lm_config(),
        f"{FILE}: W293 {CONFIG} says plain LoRA, but there is a magnitude, which is DoRA's\n"
        f"    adapter: {Q}.m f32 [64]",
    ),
    "whole numbers": (
        W | {f"{Q}.lora_a": zeros(64, 4, dtype=np.int32)},
        mlx_lm_config(),
        f"{FILE}: W293 self_attn.q_proj: a low-rank matrix is float32, float16 or bfloat16 with "
        "two axes, not i32 with 2\n"
        f"    adapter: {Q}.lora_a i32 [64, 4]",
    ),
    "experts": (
        W | {f"{Q}.lora_a": zeros(4, 64, 4)},
        mlx_lm_config(),
        f"{FILE}: W293 self_attn.q_proj: a low-rank matrix is float32, float16 or bfloat16 with "
        "two axes, not f32 with 3\n"
        f"    adapter: {Q}.lora_a f32 [4, 64, 4]\n"
        "    hint: adapters of experts have three axes; they are not supported",
    ),
    "one module twice": (
        W | {"layers.0.self_attn.q_proj.lora_a": W[f"{Q}.lora_a"]},
        mlx_lm_config(),
        f"{FILE}: W293 two tensors are the A of layers.0.self_attn.q_proj\n"
        f"    {Q}.lora_a f32 [64, 4]",
    ),
    "whole weights": (
        W,
        mlx_lm_config(fine_tune_type="full"),
        f"{CONFIG}: W286 fine_tune_type is 'full': it holds whole weights, which are no adapter",
    ),
    "no lora_parameters": (
        W,
        {"num_layers": 4},
        f"{CONFIG}: W287 lora_parameters should be an object with rank and scale",
    ),
    "a config of nonsense": (
        W,
        {"num_layers": "x", "lora_parameters": {"rank": True, "scale": "x", "keys": 3}},
        f"{CONFIG}: W287 rank is 'True'; expected a whole number from 1\n"
        f"{CONFIG}: W287 scale is 'x'; expected a number\n"
        f"{CONFIG}: W287 keys is '3'; expected a list of names\n"
        f"{CONFIG}: W287 num_layers is 'x'; expected a whole number from -1",
    ),
    "no scale": (
        W,
        mlx_lm_config(scale=None),
        f"{FILE}: W294 its config says no scale\n{SCALE}",
    ),
    "no config": (
        W,
        None,
        f"{FILE}: W285 there is neither adapter_config.json nor lora_config.json beside it\n"
        "    hint: put the config that training wrote into the same folder",
    ),
}


@pytest.mark.parametrize(("weights", "config", "messages"), BAD.values(), ids=BAD)
def test_an_adapter_that_does_not_belong_to_its_decoder(tmp_path, home, weights, config, messages):
    assert error_text(write_adapter(tmp_path / "lora", weights, config), home) == messages


def test_another_decoder_s_adapter_is_refused_in_a_few_words(tmp_path, home):
    twice = {name: (2 * a, 2 * b) for name, (a, b) in MODULES.items()}
    messages = error_text(write_adapter(tmp_path / "lora", matrices(twice), mlx_lm_config()), home)
    assert messages.count("W290") == 7
    assert messages.endswith(f"{FILE}: W290 8 more of these are not shown")


def test_a_quantized_decoder_shows_its_true_widths(tmp_path, home):
    place = write_adapter(tmp_path / "lora", W, mlx_lm_config())
    assert len(read(place, home, model="lm4").pairs) == LAYERS * len(MODULES)
    wide = matrices({**MODULES, "self_attn.q_proj": (64, 128)})
    place = write_adapter(tmp_path / "lora", wide, mlx_lm_config())
    assert error_text(place, home, model="lm4") == (
        f"{FILE}: W290 self_attn.q_proj: B gives 128 but the decoder's gives 64, in 4 modules\n"
        f"    adapter: {Q}.lora_b f32 [4, 128]\n"
        f"    decoder: repo/lm4: {Q}.weight u32 [64, 8] of 4 bits"
    )


def test_folders_that_hold_no_adapter_or_two(tmp_path, home):
    place = write_adapter(tmp_path / "lora", W, mlx_lm_config(), name="0000100_adapters")
    hint = "    hint: write the path of the adapter's file"
    assert error_text(place, home) == (
        "repo/lora: W285 it holds neither adapters.safetensors nor adapter_model.safetensors\n"
        f"{hint}"
    )
    assert read(place / "0000100_adapters.safetensors", home).rank == RANK
    write_adapter(tmp_path / "lora", W, mlx_lm_config())
    assert read(place, home).weights == (place / "adapters.safetensors",)
    write_adapter(tmp_path / "lora", as_peft(W), peft_config(), "adapter_model")
    assert error_text(place, home) == (
        "repo/lora: W285 it holds adapters.safetensors and adapter_model.safetensors\n" + hint
    )
