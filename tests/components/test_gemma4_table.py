"""The per-layer table: rows of its file, or all of it, and what loading a decoder takes."""

import json
import os

import mlx.core as mx
import numpy as np
import pytest
import torch
from mlx.utils import tree_flatten

from composer.components.mlx.gemma4 import component
from composer.components.mlx.gemma4.table import PerLayerEmbeddingTable
from composer.core.errors import ComposerError
from composer.core.placement import Placement
from composer.runtime.profile import read_profile
from tests.components.checkpoint_files import write_checkpoint
from tests.components.gemma4_models import (
    FULL,
    PAD,
    ROWS,
    SLIDING,
    WIDTH,
    config_of,
    facts,
    load,
    save,
    torch_model,
)
from tests.streams import outputs

IDS = np.array([5, PAD, 17, 5, ROWS - 1, 44, 1, 80])


@pytest.fixture(scope="module")
def model():
    return torch_model("e4b")


@pytest.fixture(scope="module")
def quantized(home, model):
    """Return what mlx-lm makes of a decoder by default: everything at few bits, the table too."""
    from mlx_lm.utils import load_model, quantize_model, save_config, save_model

    plain = save(model, home / "plain", "e4b")
    made = {}

    def folder(bits):
        if bits not in made:
            made[bits] = home / f"bits{bits}"
            theirs, config = load_model(plain)
            theirs, config = quantize_model(theirs, config, 32, bits)
            save_model(made[bits], theirs)
            save_config(config, made[bits] / "config.json")
            (made[bits] / "tokenizer.json").write_text((plain / "tokenizer.json").read_text())
        return made[bits]

    return folder


def f32(value):
    return np.array(value.astype(mx.float32))


def logits(lm, ids=IDS):
    ids = mx.array(ids)
    return f32(lm.logits(lm.embed(ids), lm.per_layer(ids)))


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("precision", [None, "float32"])
def test_mapped_rows_are_those_of_a_loaded_table(home, model, dtype, precision):
    folder = save(model, home / dtype, "e4b", getattr(torch, dtype))
    map_rows, loaded = (load(folder, precision, tables=each) for each in ("mapped", "loaded"))
    assert isinstance(map_rows.table.parts["weight"], np.memmap)
    assert isinstance(loaded.table.parts["weight"], mx.array)
    rows = map_rows.per_layer(mx.array(IDS))
    assert str(rows.dtype) == f"mlx.core.{precision or dtype}"
    np.testing.assert_array_equal(f32(rows), f32(loaded.per_layer(mx.array(IDS))))
    table = model.model.embed_tokens_per_layer.weight.detach().to(getattr(torch, dtype))
    expected = table[torch.tensor(IDS)].float().numpy() * 4  # the square root of 16
    np.testing.assert_array_equal(f32(rows), expected.reshape(len(IDS), 6, 16))
    np.testing.assert_array_equal(logits(map_rows), logits(loaded))


@pytest.mark.parametrize("bits", [4, 8])
def test_quantized_rows_are_those_of_mlx_lm(quantized, bits):
    from mlx_lm.utils import load_model

    folder = quantized(bits)
    theirs, _ = load_model(folder)
    inner = theirs.model
    expected = inner.embed_tokens_per_layer(mx.array(IDS)) * inner.embed_tokens_per_layer_scale
    map_rows, loaded = (load(folder, tables=each) for each in ("mapped", "loaded"))
    for lm in (map_rows, loaded):
        np.testing.assert_array_equal(
            f32(lm.per_layer(mx.array(IDS))).reshape(len(IDS), -1), f32(expected)
        )
    np.testing.assert_array_equal(logits(map_rows), logits(loaded))
    direct = f32(theirs(mx.array(IDS)[None])[0])
    np.testing.assert_allclose(logits(map_rows), direct, atol=2e-4)
    assert [note.code for note in facts(folder).notes] == ["L324"] * (bits < 8)
    half = load(folder, "bfloat16")
    assert str(half.per_layer(mx.array(IDS)).dtype) == "mlx.core.bfloat16"
    np.testing.assert_allclose(f32(half.per_layer(mx.array(IDS))), f32(
        map_rows.per_layer(mx.array(IDS))), atol=0.05)  # fmt: skip


def test_only_the_rows_that_are_asked_for_are_read(home, model, monkeypatch):
    folder = save(model, home / "asked", "e4b")
    seen = []
    array = PerLayerEmbeddingTable.array
    monkeypatch.setattr(
        PerLayerEmbeddingTable,
        "array",
        lambda self, part, rows: seen.append(len(rows)) or array(self, part, rows),
    )
    lm = load(folder)
    assert seen == []
    list(
        outputs(lm.generate(lm.embed(mx.array(IDS)), lm.per_layer(mx.array(IDS)), max_tokens=4))[0]
    )
    assert seen == [len(IDS), 1, 1, 1]
    load(folder, tables="loaded")
    assert seen[4:] == [ROWS]


def test_a_mapped_file_that_is_written_again_is_refused(home, model):
    """It would end the process where it became shorter, and give other rows where it did not."""
    folder = save(model, home / "again", "e4b")
    file = folder / "model.safetensors"
    map_rows, loaded = load(folder), load(folder, tables="loaded")
    whole = file.read_bytes()
    file.rename(home / "elsewhere")
    file.write_bytes(b"another file of that name")
    rows = f32(map_rows.per_layer(mx.array(IDS)))
    np.testing.assert_array_equal(rows, f32(loaded.per_layer(mx.array(IDS))))
    for content in (whole[:100], whole[:-1] + b"x"):
        (home / "elsewhere").write_bytes(content)
        with pytest.raises(ComposerError) as caught:
            map_rows.per_layer(mx.array(IDS))
        assert str(caught.value) == (
            "R530 repo/again/model.safetensors: changed while it was being read\n"
            "    hint: load the bundle again; tables: loaded in a profile holds them in memory"
        )
    np.testing.assert_array_equal(f32(loaded.per_layer(mx.array(IDS))), rows)


def test_a_mapped_file_whose_time_was_set_back_is_refused(home, model):
    folder = save(model, home / "back", "e4b")
    file = folder / "model.safetensors"
    map_rows, before = load(folder), file.stat()
    with file.open("r+b") as opened:
        opened.seek(-1, 2)
        opened.write(b"x")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(ComposerError, match="changed while it was being read"):
        map_rows.per_layer(mx.array(IDS))


def test_what_is_loaded_is_what_facts_say(home, model, quantized):
    for folder in (save(model, home / "saved", "e4b"), quantized(4)):
        parameters = [v for _, v in tree_flatten(load(folder).model.parameters())]
        assert facts(folder).nbytes == sum(value.nbytes for value in parameters)


def test_a_profile_places_tables(tmp_path):
    path = tmp_path / "profile.yaml"
    path.write_text("tables: loaded\ncomponents: {decoder: {tables: mapped}}\n")
    profile = read_profile(path)
    assert profile.placement("decoder", {"tables"}) == Placement(tables="mapped")
    assert profile.placement("other", {"tables"}) == Placement(tables="loaded")
    path.write_text("tables: cached\n")
    with pytest.raises(ComposerError, match="M124 tables cannot be 'cached'"):
        read_profile(path)
    assert "tables" in component.MlxGemma4.placement_keys


def test_both_layouts_of_experts_are_one_model(home):
    """Store experts as mlx-lm does, beside the stacked tensors of transformers."""
    from safetensors.torch import load_file

    model = torch_model("26b")
    stacked = save(model, home / "stacked", "26b")
    state = load_file(stacked / "model.safetensors")
    for name in [name for name in state if ".experts." in name]:
        base, _, part = name.rpartition(".")
        value = state.pop(name)
        if part == "down_proj":
            state[f"{base}.switch_glu.down_proj.weight"] = value
        else:
            gate, up = value.chunk(2, dim=1)
            state[f"{base}.switch_glu.gate_proj.weight"] = gate.contiguous()
            state[f"{base}.switch_glu.up_proj.weight"] = up.contiguous()
    split = save(model, home / "split", "26b")
    write_checkpoint(split, config_of(model, "26b"), state)
    embeds = mx.array(np.random.default_rng(0).normal(0, 1, (5, WIDTH)).astype(np.float32))
    ours, theirs = (f32(load(folder).logits(embeds)) for folder in (split, stacked))
    np.testing.assert_array_equal(ours, theirs)
    assert facts(split).nbytes == facts(stacked).nbytes


def test_a_pattern_says_the_layers_too(home, model):
    folder = save(model, home / "pattern", "e4b", layer_types="left out", sliding_window_pattern=3)
    config = json.loads((folder / "config.json").read_text())
    assert "layer_types" not in config
    assert load(folder).model.args.layer_types == [SLIDING, SLIDING, FULL] * 2
