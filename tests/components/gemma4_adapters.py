"""A small Gemma-4 with an adapter, as transformers computes it and as mlx.gemma4 loads it.

Its last layers have no keys and values of their own to adapt.
"""

import mlx.core as mx
import numpy as np
import torch

from composer.components.mlx.gemma4 import MlxGemma4
from composer.core.component import Adapter
from composer.core.placement import Placement
from composer.formats import Headers
from tests.components.adapter_files import at, write_adapter
from tests.components.gemma4_models import ROWS, WIDTH, save, spec, torch_model
from tests.streams import ids_of

TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
LAYERS, BORROWING, RANK, SCALE = 6, (3, 4, 5), 4, 20.0
IDS = np.random.default_rng(0).integers(2, ROWS, 13)
RELEASE = {"lora_rank": RANK, "lora_target_names": [*TARGETS]}


def matrices(model, dead=True):
    """Return updates for every target of every layer, those that a trainer would keep dead too."""
    random = np.random.default_rng(1)
    sizes = {
        name: (module.in_features, module.out_features)
        for name, module in model.named_modules()
        if name.rpartition(".")[2] in TARGETS
    }
    for layer in BORROWING if dead else ():
        for side in "kv":
            sizes[f"model.layers.{layer}.self_attn.{side}_proj"] = (WIDTH, 32)
    return {
        f"{name}.{side}": random.normal(0, 0.02, shape).astype(np.float32)
        for name, (inputs, outputs) in sizes.items()
        for side, shape in (("lora_a", (inputs, RANK)), ("lora_b", (RANK, outputs)))
    }


def write_pair(home, kind):
    """Write a decoder and its adapter `speech`; return the model of transformers."""
    model = torch_model(kind)
    save(model, home / "lm", kind)
    write_adapter(home / "speech", matrices(model), RELEASE, beside="lora_config")
    return model


def spec_with(home, precision=None, **scales):
    adapters = {name: Adapter(at(home / name), scale) for name, scale in scales.items()}
    return spec(home / "lm", precision, adapters)


def load(home, precision=None, **scales):
    expected = spec_with(home, precision, **scales)
    return MlxGemma4.load(expected, MlxGemma4.facts(expected, Headers()), Placement())


def greedy(lm, *on, ids=IDS, count=8, reuse_cache=False):
    ids = mx.array(ids)
    given = lm.embed(ids), lm.per_layer(ids)
    stream = lm.generate(*given, adapters=on, max_tokens=count, reuse_cache=reuse_cache)
    return ids_of(stream)


def torch_logits(model, home):
    """Return transformers' logits without and with the update, and how many modules have one."""
    weights = mx.load(str(home / "speech" / "adapters.safetensors"))

    def update(name):
        a, b = (torch.tensor(np.array(weights[f"{name}.lora_{side}"])) for side in "ab")
        return lambda _, given, out: out + SCALE * ((given[0] @ a) @ b)

    with torch.no_grad():
        off = model(torch.tensor(IDS)[None]).logits[0].numpy()
        hooks = [
            module.register_forward_hook(update(name))
            for name, module in model.named_modules()
            if name.rpartition(".")[2] in TARGETS
        ]
        on = model(torch.tensor(IDS)[None]).logits[0].numpy()
        for hook in hooks:
            hook.remove()
    return off, on, len(hooks)
