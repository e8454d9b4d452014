"""Write tiny models and adapters on them, in each layout that adapters come in."""

import json

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx.utils import tree_flatten
from mlx_lm.models import qwen3
from tokenizers import Tokenizer, decoders, models

from composer.core.location import Location

ROWS, WIDTH, LAYERS, RANK = 96, 64, 4, 4
SIZES = {
    "model_type": "qwen3",
    "hidden_size": WIDTH,
    "num_hidden_layers": LAYERS,
    "intermediate_size": 96,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "rms_norm_eps": 1e-6,
    "vocab_size": ROWS,
    "rope_theta": 10000.0,
    "max_position_embeddings": 256,
    "tie_word_embeddings": True,
}
ATTENTION = {"q_proj": (64, 64), "k_proj": (64, 32), "v_proj": (64, 32), "o_proj": (64, 64)}
MLP = {"gate_proj": (64, 96), "up_proj": (64, 96), "down_proj": (96, 64)}
MODULES = {f"self_attn.{name}": size for name, size in ATTENTION.items()}
MODULES |= {f"mlp.{name}": size for name, size in MLP.items()}


def write_model(folder, bits=None, dtype=mx.float32):
    """Write an mlx-lm folder with a random Qwen3, quantized if `bits` says so."""
    folder.mkdir(parents=True, exist_ok=True)
    mx.random.seed(0)
    model = qwen3.Model(qwen3.ModelArgs.from_dict(SIZES))
    weights = {
        name: (mx.random.normal(value.shape) * 0.2 + ("norm" in name)).astype(dtype)
        for name, value in tree_flatten(model.parameters())
    }
    model.load_weights(list(weights.items()))
    config = dict(SIZES, eos_token_id=ROWS - 1)
    if bits:
        nn.quantize(model, group_size=32, bits=bits)
        config["quantization"] = {"group_size": 32, "bits": bits}
    mx.save_safetensors(str(folder / "model.safetensors"), dict(tree_flatten(model.parameters())))
    (folder / "config.json").write_text(json.dumps(config))
    tokenizer = Tokenizer(models.WordLevel({f"w{n}": n for n in range(ROWS)}, unk_token="w0"))
    tokenizer.decoder = decoders.Fuse()
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def matrices(modules=MODULES, layers=range(LAYERS), rank=RANK, seed=1, prefix="model."):
    """Return random updates in mlx-lm's names: A [in, r] and B [r, out]."""
    random = np.random.default_rng(seed)
    found = {}
    for layer in layers:
        for module, (inputs, outputs) in modules.items():
            stem = f"{prefix}layers.{layer}.{module}"
            for side, shape in (("lora_a", (inputs, rank)), ("lora_b", (rank, outputs))):
                found[f"{stem}.{side}"] = random.normal(0, 0.1, shape).astype(np.float32)
    return found


def as_peft(weights, prefix="base_model.model."):
    """Return the same updates as PEFT stores them: A [r, in] and B [out, r]."""
    sides = {"lora_a": "lora_A.weight", "lora_b": "lora_B.weight"}
    return {
        f"{prefix}{name[:-6]}{sides[name[-6:]]}": np.ascontiguousarray(value.T)
        for name, value in weights.items()
    }


def mlx_lm_config(layers=LAYERS, rank=RANK, scale=2.0, keys=tuple(MODULES), **more):
    """Return what mlx-lm writes beside an adapter."""
    inner = {"rank": rank, "scale": scale, "dropout": 0.0, "keys": keys and list(keys)}
    inner = {key: value for key, value in inner.items() if value is not None}
    return {"fine_tune_type": "lora", "num_layers": layers, "lora_parameters": inner} | more


def peft_config(**changes):
    """Return what PEFT writes beside an adapter, most of it at rest."""
    return {
        "alpha_pattern": {}, "arrow_config": None, "auto_mapping": None,
        "base_model_name_or_path": "Qwen/Qwen3", "bias": "none", "corda_config": None,
        "eva_config": None, "exclude_modules": None, "fan_in_fan_out": False,
        "inference_mode": True, "init_lora_weights": True, "layer_replication": None,
        "layers_pattern": None, "layers_to_transform": None, "loftq_config": {},
        "lora_alpha": 8, "lora_bias": False, "lora_dropout": 0.05, "megatron_config": None,
        "megatron_core": "megatron.core", "modules_to_save": None, "peft_type": "LORA",
        "peft_version": "0.17.1", "qalora_group_size": 16, "r": RANK, "rank_pattern": {},
        "revision": None, "target_modules": [*ATTENTION, *MLP], "target_parameters": None,
        "task_type": "CAUSAL_LM", "trainable_token_indices": None, "use_dora": False,
        "use_qalora": False, "use_rslora": False,
    } | changes  # fmt: skip


def write_adapter(folder, weights, config, name="adapters", beside="adapter_config"):
    """Write an adapter's tensors and its config; return where it is."""
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {key: value if isinstance(value, mx.array) else mx.array(value)
              for key, value in weights.items()}  # fmt: skip
    mx.save_safetensors(str(folder / f"{name}.safetensors"), arrays)
    if config is not None:
        (folder / f"{beside}.json").write_text(json.dumps(config))
    return at(folder)


def at(path):
    """Return a path as a location of the source `repo`."""
    return Location("repo", path.name, path.parent)
