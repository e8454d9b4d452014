"""Loading is strict: no tensor is missing, dropped or made up."""

import json

import mlx.core as mx
import pytest
import torch
from mlx.utils import tree_flatten
from safetensors.torch import load_file, save_file

from composer.components.mlx.checkpoint import read_checkpoint
from composer.components.mlx.loader import build_model_without_weights, load_model, sanitize
from composer.core.errors import ComposerError
from composer.formats import Headers
from tests.components.checkpoint_files import rename
from tests.components.mlx_lm.models import (
    IDS,
    edit,
    error_text,
    greedy,
    greedy_of_torch,
    load,
    save,
    spec,
    torch_model,
    without,
)

pytestmark = pytest.mark.usefixtures("one_thread")


def test_missing_unexpected_and_misshapen_tensors_are_all_named(folder):
    def change(state):
        state["model.layers.0.mlp.up_proj.bias"] = torch.zeros(3)
        state["model.layers.0.self_attn.k_norm.weight"] = torch.zeros(8)
        without(state, "model.norm.weight", "model.layers.1.self_attn.q_norm.weight")

    rename(folder, change)
    found = error_text(folder).splitlines()
    place = "repo/lm/config.json: W255"
    assert found == [
        f"{place} 2 tensors are missing: model.layers.1.self_attn.q_norm.weight, model.norm.weight",
        f"{place} 1 tensor is unexpected: model.layers.0.mlp.up_proj.bias",
        f"{place} model.layers.0.self_attn.k_norm.weight has the shape [8], but the model has [16]",
        "    model.layers.0.self_attn.k_norm.weight f32 [8]",
    ]
    with pytest.raises(ComposerError) as caught:
        load_model(read_checkpoint(spec(folder).weights, Headers()))
    assert str(caught.value) == (
        "R511 2 tensors are missing: model.layers.1.self_attn.q_norm.weight, model.norm.weight\n"
        "R511 1 tensor is unexpected: model.layers.0.mlp.up_proj.bias\n"
        "R511 model.layers.0.self_attn.k_norm.weight has the shape [8], but the model has [16]"
    )


def test_a_tensor_that_mlx_lm_would_drop_is_refused(tmp_path):
    folder = save(torch_model("llama"), tmp_path / "lm")
    before = greedy(load(folder), load(folder).embed(mx.array(IDS)), 4)
    names = ("model.layers.0.self_attn.rotary_emb.inv_freq", "model.rotary_emb.inv_freq")
    rename(folder, lambda state: state.update({name: torch.zeros(8) for name in names}))
    assert greedy(load(folder), load(folder).embed(mx.array(IDS)), 4) == before
    checkpoint = read_checkpoint(spec(folder).weights, Headers())
    names = {"lm_head.weight": None, "model.norm.weight": None}
    with pytest.raises(ComposerError, match=r"R511 1 tensors are not part .*: lm_head.weight"):
        sanitize(build_model_without_weights(checkpoint), names)


@pytest.mark.parametrize("kind", ["llama", "qwen3", "gemma3_text"])
def test_a_head_that_is_stored_is_the_head_where_the_config_is_silent(tmp_path, kind):
    model = torch_model(kind, tied=False)
    folder = edit(save(model, tmp_path / kind), tie_word_embeddings=None)
    lm = load(folder)
    assert greedy(lm, lm.embed(mx.array(IDS))) == greedy_of_torch(model)


def test_a_config_that_mlx_lm_cannot_use_is_refused(folder):
    edit(folder, head_dim="16")
    with pytest.raises(ComposerError, match="W241 head_dim is 16; expected a whole number"):
        load(folder)


def test_equal_axes_of_positions_are_plain_positions(qwen3, expected, tmp_path):
    model, _, _ = qwen3
    axes = {"mrope_section": [2, 3, 3], "mrope_interleaved": True, "rope_type": "default"}
    folder = save(model, tmp_path / "lm", rope_parameters=None, rope_scaling=axes)
    lm = load(folder)
    assert greedy(lm, lm.embed(mx.array(IDS))) == expected


def test_an_architecture_that_scales_ids_alone_is_refused(folder, monkeypatch):
    from mlx_lm.models import qwen3 as module

    def scaled(self, inputs, cache=None, input_embeddings=None):
        if input_embeddings is None:
            input_embeddings = self.embed_tokens(inputs) * 8
        for layer in self.layers:
            input_embeddings = layer(input_embeddings, None, None)
        return self.norm(input_embeddings)

    monkeypatch.setattr("composer.components.mlx.lm.TESTED", frozenset())
    load(folder)
    monkeypatch.setattr(module.Qwen3Model, "__call__", scaled)
    with pytest.raises(ComposerError, match="R517 mlx-lm's qwen3 changes embeddings before"):
        load(folder)


def test_shards_are_read_together(folder):
    state = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(state)
    places = {}
    for number, part in enumerate((names[:5], names[5:]), 1):
        file = f"model-{number:05}-of-00002.safetensors"
        save_file({name: state[name] for name in part}, folder / file, metadata={"format": "mlx"})
        places |= dict.fromkeys(part, file)
    index = {"metadata": {}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    lm = load(folder)
    assert len(greedy(lm, lm.embed(mx.array(IDS)), 3)) == 3


def test_nothing_random_is_computed_on_the_way(folder, monkeypatch):
    """A model's own initial values would double the memory: they are never evaluated."""
    mx.reset_peak_memory()
    before = mx.get_active_memory()
    lm = load(folder)
    size = sum(value.nbytes for _, value in tree_flatten(lm.model.parameters()))
    assert mx.get_peak_memory() - before < 1.3 * size
