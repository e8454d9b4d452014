"""What is said of an adapter from its headers alone, and what is refused."""

import numpy as np
import pytest
from adapter_files import (
    ATTENTION,
    LAYERS,
    MLP,
    MODULES,
    RANK,
    as_peft,
    at,
    matrices,
    mlx_lm_config,
    peft_config,
    write_adapter,
    write_model,
)

import composer
from composer.components.checkpoints.lora.adapters import read_adapters
from composer.components.checkpoints.lora.pair import projections
from composer.components.mlx.checkpoint import read_checkpoint
from composer.core.component import Adapter, ComponentConfig, Spec
from composer.core.errors import ComposerError
from composer.formats import Headers

Q = "model.layers.0.self_attn.q_proj"
SOME = {name: MODULES[name] for name in ("self_attn.q_proj", "mlp.down_proj")}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    home = tmp_path_factory.mktemp("facts")
    write_model(home / "lm")
    write_model(home / "lm4", bits=4)
    return home


def read(place, home, scale=None, dead=(), model="lm"):
    targets = projections(read_checkpoint(at(home / model), Headers()))
    targets = {path: size for path, size in targets.items() if path not in dead}
    spec = Spec("decoder", ComponentConfig(), adapters={"speech": Adapter(place, scale)})
    return read_adapters(spec, Headers(), targets, dead)["speech"]


def error_text(place, home, scale=None, **more):
    with pytest.raises(ComposerError) as caught:
        read(place, home, scale, **more)
    return str(caught.value)


def notes(found):
    return [str(note) for note in found.notes]


W = matrices()
HAS = (
    "    decoder: repo/lm has mlp.down_proj, mlp.gate_proj, mlp.up_proj, self_attn.k_proj, "
    "self_attn.o_proj, self_attn.q_proj, self_attn.v_proj"
)
ALL = ", ".join(MODULES)
FILE, CONFIG = "repo/lora/adapters.safetensors", "repo/lora/adapter_config.json"
HINT = (
    "    hint: lora_a is [in, rank] and lora_b [rank, out]; lora_A is [rank, in] and "
    "lora_B [out, rank]"
)
PARTS = "    hint: wanted names that end in lora_a and lora_b, or lora_A.weight and lora_B.weight"
SCALE = "    hint: say the one that counts in the manifest: scale: 20.0"


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
        W | {"lm_head.lora_a": zeros(64, 4), "lm_head.lora_b": zeros(4, 96)},
        mlx_lm_config(),
        f"{FILE}: W288 lm_head is outside the decoder's layers\n"
        "    adapter: lm_head.lora_a f32 [64, 4]\n"
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


def test_another_decoder_s_adapter_is_said_in_a_few_words(tmp_path, home):
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
    assert read(place, home).weights == place / "adapters.safetensors"
    write_adapter(tmp_path / "lora", as_peft(W), peft_config(), "adapter_model")
    assert error_text(place, home) == (
        "repo/lora: W285 it holds adapters.safetensors and adapter_model.safetensors\n" + hint
    )


# Layouts and names


@pytest.mark.parametrize("prefix", ["model.", "", "language_model.model.", "model.language_model."])
@pytest.mark.parametrize("peft", [False, True])
def test_prefixes_are_those_of_whoever_wrote_it(tmp_path, home, prefix, peft):
    weights, config = matrices(prefix=prefix), mlx_lm_config()
    if peft:
        weights, config = as_peft(weights), peft_config()
    found = read(write_adapter(tmp_path / "lora", weights, config), home)
    assert (found.rank, found.scale, len(found.pairs)) == (RANK, 2.0, LAYERS * len(MODULES))
    assert found.nbytes == sum(value.nbytes for value in weights.values())
    assert {pair.path for pair in found.pairs} == {
        f"layers.{layer}.{module}" for layer in range(LAYERS) for module in MODULES
    }


def test_a_prefix_of_something_else_is_no_layer(tmp_path, home):
    place = write_adapter(tmp_path / "lora", matrices(prefix="vision_tower."), mlx_lm_config())
    assert error_text(place, home) == (
        f"{FILE}: W288 vision_tower is outside the decoder's layers, in 28 modules\n"
        "    adapter: vision_tower.layers.0.mlp.down_proj.lora_a f32 [96, 4]\n"
        f"{HAS}\n"
        "    hint: adapters go on the projections inside the layers"
    )


@pytest.mark.parametrize(
    "config",
    [
        {"rank": 4, "scale": 20.0, "target_names": [*ATTENTION, *MLP], "num_layers": 4},
        {"lora_rank": 4, "lora_scale": 20, "lora_target_names": [*MODULES], "num_layers": -1},
        {"r": 4, "alpha": 80, "target_modules": [*MODULES], "dropout": 0.0},
        {"r": 4, "lora_alpha": 80.0, "scale": 20.0, "keys": [f"layers.{n}.{m}" for n in range(4)
                                                            for m in MODULES]},
        {"scale": 20.0},
    ],
)  # fmt: skip
def test_the_release_s_config_in_each_spelling(tmp_path, home, config):
    found = read(write_adapter(tmp_path / "lora", W, config, beside="lora_config"), home)
    assert (found.rank, found.scale, notes(found)) == (4, 20.0, [])
    named = [str(file) for file in found.files]
    assert named == [FILE, "repo/lora/lora_config.json"]


RELEASE = "repo/lora/lora_config.json"


@pytest.mark.parametrize(
    ("config", "messages"),
    [
        (
            {"lora_rank": 16, "scale": 20.0},
            f"{FILE}: W289 the rank is 4, but {RELEASE} says 16\n"
            "    4 comes from model.layers.0.mlp.down_proj.lora_a f32 [96, 4]\n"
            f"    16 comes from lora_rank in {RELEASE}",
        ),
        (
            {"target_names": [m.rpartition(".")[2] for m in SOME], "scale": 20.0},
            f"{FILE}: W292 20 modules are not meant to be there: layers.0.mlp.gate_proj, "
            "layers.0.mlp.up_proj, layers.0.self_attn.k_proj, layers.0.self_attn.o_proj, "
            "layers.0.self_attn.v_proj, layers.1.mlp.gate_proj, layers.1.mlp.up_proj, "
            "layers.1.self_attn.k_proj and 12 more\n"
            f"    {RELEASE} means q_proj, down_proj in all 4 layers\n"
            "    adapter: 28 modules, such as model.layers.0.mlp.down_proj.lora_a f32 [96, 4]",
        ),
        (
            {"rank": 4, "scale": 20.0, "alpha": 20},
            f"{FILE}: W294 its config says several scales\n"
            f"    20 comes from scale in {RELEASE}\n"
            f"    5 comes from alpha / rank in {RELEASE}\n"
            f"{SCALE}",
        ),
        (
            {"scale": 20.0, "use_dora": True},
            f"{RELEASE}: W286 use_dora is 'True': only an adapter_config.json of PEFT or mlx-lm "
            "gives it a meaning",
        ),
    ],
)
def test_the_release_s_config_that_contradicts(tmp_path, home, config, messages):
    place = write_adapter(tmp_path / "lora", W, config, beside="lora_config")
    assert error_text(place, home) == messages


def test_two_configs_must_both_agree(tmp_path, home):
    place = write_adapter(tmp_path / "lora", W, mlx_lm_config())
    write_adapter(tmp_path / "lora", W, {"rank": 8, "scale": 2.0}, beside="lora_config")
    assert f"W289 the rank is 4, but {RELEASE} says 8" in error_text(place, home)


@pytest.mark.parametrize(
    ("changes", "messages"),
    [
        ({"bias": "lora_only"}, "W286 bias is 'lora_only': the base's biases were trained too, "
         "which cannot be switched off exactly"),
        ({"modules_to_save": ["lm_head"]}, "W286 modules_to_save is \"['lm_head']\": whole modules "
         "of the base were trained too"),
        ({"rank_pattern": {"q_proj": "2"}}, "W287 rank_pattern is \"{'q_proj': '2'}\"; expected a "
         "number for each module"),
        ({"alpha_pattern": {"q_proj": True}}, "W287 alpha_pattern is \"{'q_proj': True}\"; "
         "expected a number for each module"),
        ({"rank_pattern": {"q_(.*)": 2}}, "W286 rank_pattern names modules by the pattern "
         "'q_(.*)', which is not run\n    hint: name them by the end of their paths, such as "
         "self_attn.q_proj"),
        ({"fan_in_fan_out": True}, "W286 fan_in_fan_out is 'True': the base that it was trained on "
         "stores its weights transposed"),
        ({"init_lora_weights": "pissa"}, "W286 init_lora_weights is 'pissa': the base's weights "
         "were changed before it was trained"),
        ({"layer_replication": [[0, 2]]}, "W286 layer_replication is '[[0, 2]]': the base that it "
         "was trained on repeats layers"),
        ({"lora_bias": True}, "W286 lora_bias is 'True': the update is not that of plain LoRA"),
        ({"use_qalora": True}, "W286 use_qalora is 'True': composer does not know what that does"),
        ({"novelty": 3}, "W286 novelty is '3': composer does not know what that does"),
        ({"peft_type": "LOHA"}, "W286 peft_type is 'LOHA'; expected 'LORA'"),
        ({"layers_pattern": "h"}, "W286 layers_pattern is 'h'; expected 'layers'"),
        (
            {"layers_to_transform": "x"},
            "W287 layers_to_transform is 'x'; expected layers by number",
        ),
        ({"r": 0}, "W287 r is '0'; expected a whole number from 1"),
        ({"target_modules": {}}, "W287 target_modules is '{}'; expected a list of names"),
    ],
)  # fmt: skip
def test_settings_of_peft_that_are_not_supported(tmp_path, home, changes, messages):
    config = peft_config(**changes)
    place = write_adapter(tmp_path / "lora", as_peft(W), config, "adapter_model")
    assert error_text(place, home) == f"{CONFIG}: {messages}"


@pytest.mark.parametrize(
    ("changes", "layers", "modules"),
    [
        ({"layers_to_transform": [0, 2]}, (0, 2), MODULES),
        ({"layers_to_transform": 3, "layers_pattern": "layers"}, (3,), MODULES),
        ({"exclude_modules": [*MLP]}, range(LAYERS), [f"self_attn.{name}" for name in ATTENTION]),
        ({"init_lora_weights": "gaussian"}, range(LAYERS), MODULES),
    ],
)
def test_settings_of_peft_that_choose_modules(tmp_path, home, changes, layers, modules):
    chosen = matrices({name: MODULES[name] for name in modules}, layers)
    config = peft_config(**changes)
    place = write_adapter(tmp_path / "lora", as_peft(chosen), config, "adapter_model")
    found = read(place, home)
    assert (len(found.pairs), notes(found)) == (len(layers) * len(modules), [])
    if len(chosen) < len(W):
        write_adapter(tmp_path / "lora", as_peft(W), config, "adapter_model")
        assert "are not meant to be there" in error_text(place, home)


def test_a_pattern_is_not_run(tmp_path, home):
    config = peft_config(target_modules=r".*layers\.[01].*\.(q|down)_proj")
    place = write_adapter(
        tmp_path / "lora", as_peft(matrices(SOME, (0, 1))), config, "adapter_model"
    )
    found = read(place, home)
    assert len(found.pairs) == 4
    assert notes(found) == [
        f"{CONFIG}: L328 warning: target_modules is the pattern "
        "'.*layers\\\\.[01].*\\\\.(q|down)_proj', which is not run"
    ]


# Lints


def test_the_manifest_s_scale_counts(tmp_path, home):
    place = write_adapter(tmp_path / "lora", W, mlx_lm_config(scale=2.0))
    assert read(place, home).scale == 2.0
    same, other = read(place, home, 2.0), read(place, home, 20.0)
    assert (same.scale, notes(same)) == (2.0, [])
    assert other.scale == 20.0
    assert notes(other) == [
        f"{FILE}: L329 warning: the manifest says scale 20, which counts; the adapter says 2\n"
        f"    2 comes from lora_parameters.scale in {CONFIG}"
    ]
    place = write_adapter(tmp_path / "lora", W, mlx_lm_config(scale=None))
    assert (read(place, home, 20.0).scale, notes(read(place, home, 20.0))) == (20.0, [])


def test_what_nothing_reads_is_said(tmp_path, home):
    config = {"scale": 20.0, "base_model": "gemma", "mode": "speech"}
    place = write_adapter(tmp_path / "lora", W, config, beside="lora_config")
    assert notes(read(place, home)) == [f"{RELEASE}: L328 warning: nothing reads base_model, mode"]
    place = write_adapter(tmp_path / "other", W, mlx_lm_config())
    (tmp_path / "other" / "adapter_config.json").write_text(
        '{"num_layers": 4, "lora_parameters": {"rank": 4, "scale": 2.0, "alpha": 16}}'
    )
    assert notes(read(place, home)) == [
        "repo/other/adapter_config.json: L328 warning: lora_parameters has alpha, which mlx-lm "
        "does not read"
    ]


DEAD = [f"layers.{layer}.self_attn.{side}_proj" for layer in (2, 3) for side in "kv"]


def test_dead_modules_are_dropped_and_counted(tmp_path, home):
    place = write_adapter(tmp_path / "lora", W, mlx_lm_config())
    found = read(place, home, dead=DEAD)
    assert len(found.pairs) == 24
    assert not {pair.path for pair in found.pairs} & set(DEAD)
    assert notes(found) == [
        f"{FILE}: L327 warning: 4 of 28 modules are dropped: the layers 2 to 3 take keys and "
        "values from earlier ones\n"
        "    adapter: model.layers.2.self_attn.k_proj.lora_a f32 [64, 4]\n"
        "    hint: they have no self_attn.k_proj, self_attn.v_proj to adapt"
    ]
    live = {name: value for name, value in W.items() if not any(path in name for path in DEAD)}
    assert found.nbytes == sum(value.nbytes for value in live.values())
    found = read(write_adapter(tmp_path / "lora", live, mlx_lm_config()), home, dead=DEAD)
    assert (len(found.pairs), notes(found)) == (24, [])


def test_dead_modules_alone_are_no_adapter(tmp_path, home):
    keys = {"self_attn.k_proj": MODULES["self_attn.k_proj"]}
    place = write_adapter(tmp_path / "lora", matrices(keys, (2, 3)), mlx_lm_config(2, keys=keys))
    assert error_text(place, home, dead=DEAD) == f"{FILE}: W292 it adapts nothing of this decoder"


# In a bundle

BUNDLE = """\
composer: 1
name: adapted
sources: {repo: ./}
components:
  decoder:
    use: mlx.lm
    weights: repo/lm
    adapters:
      speech: {weights: repo/lora, scale: 20.0}
      other: {weights: repo/other}
inputs: {ids: ids}
graph:
  words: {run: decoder.embed, with: {ids: $ids}}
  answer: {run: decoder.generate, with: {embeds: $words, adapters: [speech], max_tokens: 4}}
outputs: {ids: $answer.ids}
"""


def test_a_bundle_s_adapters_are_checked_where_they_are_named(tmp_path):
    write_model(tmp_path / "lm")
    write_adapter(tmp_path / "lora", W, mlx_lm_config(rank=8))
    write_adapter(tmp_path / "other", W, None)
    path = tmp_path / "bundle.yaml"
    path.write_text(BUNDLE)
    found = [str(problem) for problem in composer.check(path).problems]
    assert found == [
        f"{path}:9:25: W289 {FILE}: the rank is 4, but {CONFIG} says 8\n"
        "    4 comes from model.layers.0.mlp.down_proj.lora_a f32 [96, 4]\n"
        f"    8 comes from lora_parameters.rank in {CONFIG}",
        f"{path}:10:24: W285 repo/other/adapters.safetensors: there is neither adapter_config.json "
        "nor lora_config.json beside it\n"
        "    hint: put the config that training wrote into the same folder",
    ]
    path.write_text(BUNDLE.replace("[speech]", "[speech, speech]"))
    write_adapter(tmp_path / "lora", W, mlx_lm_config(scale=20.0))
    write_adapter(tmp_path / "other", W, mlx_lm_config())
    found = [str(problem) for problem in composer.check(path).problems]
    assert [each.partition(": ")[2] for each in found] == [
        "W216 an adapter is switched on twice: speech, speech"
    ]


def test_a_bundle_switches_its_adapter_on_for_a_run(tmp_path):
    write_model(tmp_path / "lm")
    for name in ("lora", "other"):
        write_adapter(tmp_path / name, W, mlx_lm_config(scale=20.0))
    path = tmp_path / "bundle.yaml"
    path.write_text(BUNDLE)
    with composer.load(path) as bundle:
        on = bundle.run(ids=[5, 6, 7]).outputs["ids"].tolist()
        off = (
            bundle.run(ids=[5, 6, 7], options={"answer": {"adapters": []}}).outputs["ids"].tolist()
        )
        again = bundle.run(ids=[5, 6, 7]).outputs["ids"].tolist()
    assert on == again != off
