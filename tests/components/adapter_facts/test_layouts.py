"""Names and configs of adapters, as different programs write them."""

import pytest

from tests.components.adapter_facts.reading import (
    CONFIG,
    FILE,
    HAS,
    RELEASE,
    SCALE,
    SOME,
    W,
    error_text,
    notes,
    read,
)
from tests.components.adapter_files import (
    ATTENTION,
    LAYERS,
    MLP,
    MODULES,
    RANK,
    as_peft,
    matrices,
    mlx_lm_config,
    peft_config,
    write_adapter,
)


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


@pytest.mark.parametrize(
    ("key", "value"),
    [("use_dora", True), ("alpha", 32), ("scale", 20.0), ("merge_weights", [0.5]), ("bias", None)],
)
def test_a_key_that_mlx_lm_does_not_write(tmp_path, home, key, value):
    place = write_adapter(tmp_path / "lora", W, mlx_lm_config() | {key: value})
    assert error_text(place, home) == (
        f"{CONFIG}: W286 {key} is {str(value)!r}: mlx-lm neither writes nor reads that\n"
        "    hint: remove it if the adapter was trained without"
    )


def test_keys_that_mlx_lm_writes_are_without_effect(tmp_path, home):
    """As its trainer writes them, each at another value than its default."""
    from mlx_lm.lora import CONFIG_DEFAULTS

    config = mlx_lm_config()
    settings = {key: value or "other" for key, value in CONFIG_DEFAULTS.items()}
    place = write_adapter(tmp_path / "lora", W, settings | config)
    assert [str(note) for note in read(place, home).notes] == []


def test_two_configs_must_both_agree(tmp_path, home):
    place = write_adapter(tmp_path / "lora", W, mlx_lm_config())
    write_adapter(tmp_path / "lora", W, {"rank": 8, "scale": 2.0}, beside="lora_config")
    assert f"W289 the rank is 4, but {RELEASE} says 8" in error_text(place, home)


@pytest.mark.parametrize(
    ("changes", "messages"),
    [
        ({"bias": "lora_only"}, "W286 bias is 'lora_only': the base's biases were trained too, "
         "which cannot be switched off exactly"),
        ({"modules_to_save": 3}, "W287 modules_to_save is '3'; expected a list of names"),
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
