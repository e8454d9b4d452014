"""Read an adapter's headers beside a small decoder's."""

import pytest

from composer.components.checkpoints.lora.adapters import read_adapters
from composer.components.checkpoints.lora.pair import layer_projections
from composer.components.mlx.checkpoint import read_checkpoint
from composer.core.component import Adapter, ComponentConfig, Spec
from composer.core.errors import ComposerError
from composer.formats import Headers
from tests.components.adapter_files import (
    MODULES,
    at,
    matrices,
)

SOME = {name: MODULES[name] for name in ("self_attn.q_proj", "mlp.down_proj")}


def read(place, home, scale=None, dead=(), model="lm"):
    targets = layer_projections(read_checkpoint(at(home / model), Headers()))
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
FILE, CONFIG = "repo/lora/adapters.safetensors", "repo/lora/adapter_config.json"
SCALE = "    hint: say the one that counts in the manifest: scale: 20.0"
RELEASE = "repo/lora/lora_config.json"
