"""Decoders with adapters on mlx.lm, and what mlx-lm itself makes of them."""

import mlx.core as mx
import numpy as np
import pytest
import torch
import transformers
from mlx_lm.tuner.utils import load_adapters

from composer.components.mlx.checkpoint import read_checkpoint
from composer.components.mlx.lm import MlxLanguageModel
from composer.components.mlx.loader import load_model
from composer.core.component import Adapter, ComponentConfig, Spec
from composer.core.placement import Placement
from composer.formats import Headers
from tests.components.adapter_files import (
    LAYERS,
    MODULES,
    ROWS,
    SIZES,
    at,
    matrices,
    mlx_lm_config,
    write_adapter,
    write_model,
)
from tests.streams import ids_of

IDS = np.random.default_rng(0).integers(1, ROWS - 1, 9)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Load a plain and a quantized decoder, and two adapters of another scale and extent."""
    home = tmp_path_factory.mktemp("adapters")
    write_model(home / "lm")
    write_model(home / "lm4", bits=4)
    write_adapter(home / "speech", matrices(), mlx_lm_config())
    some = {name: MODULES[name] for name in ("self_attn.v_proj", "mlp.down_proj")}
    last = matrices(some, range(2, LAYERS), rank=2, seed=2)
    write_adapter(home / "style", last, mlx_lm_config(2, 2, 5.0, some))
    return home


def spec(home, model="lm", precision=None, **adapters):
    found = {
        name: Adapter(at(home / name), None if scale is None else float(scale))
        for name, scale in adapters.items()
    }
    return Spec("decoder", ComponentConfig(), at(home / model), None, precision, found)


def load(home, model="lm", precision=None, **adapters):
    component_spec = spec(home, model, precision, **adapters)
    return MlxLanguageModel.load(
        component_spec, MlxLanguageModel.facts(component_spec, Headers()), Placement()
    )


def reference(home, model="lm", adapter="speech"):
    """Return the same decoder with mlx-lm's own adapters on it."""
    model = load_model(read_checkpoint(at(home / model), Headers()))
    return load_adapters(model, str(home / adapter))


def logits(lm, *on):
    return np.array(lm.logits(lm.embed(mx.array(IDS)), adapters=on))


def direct(model):
    return np.array(model(mx.array(IDS)[None])[0])


def far(left, right):
    return np.abs(left - right).max()


def ids(lm, *on, count=12):
    return ids_of(lm.generate(lm.embed(mx.array(IDS)), adapters=on, max_tokens=count))


@pytest.fixture(scope="module")
def torch_folder(tmp_path_factory):
    """Make a Qwen3 of transformers, and its folder."""
    torch.manual_seed(0)
    config = transformers.Qwen3Config(**SIZES | {"initializer_range": 0.2})
    model = transformers.Qwen3ForCausalLM(config).eval()
    folder = write_model(tmp_path_factory.mktemp("torch") / "lm")
    state = {name: mx.array(value.numpy()) for name, value in model.state_dict().items()}
    del state["lm_head.weight"]
    mx.save_safetensors(str(folder / "model.safetensors"), state)
    return model, folder.parent


def fused(home, folder, *adapters):
    """Write the decoder with what the adapters add in its weights."""
    write_model(folder)
    weights = mx.load(str(home / "lm" / "model.safetensors"))
    for name, scale in adapters:
        update = mx.load(str(home / name / "adapters.safetensors"))
        for stem in {key.rpartition(".")[0] for key in update}:
            delta = (update[f"{stem}.lora_a"] @ update[f"{stem}.lora_b"]).T
            weights[f"{stem}.weight"] = weights[f"{stem}.weight"] + scale * delta
    mx.save_safetensors(str(folder / "model.safetensors"), weights)
