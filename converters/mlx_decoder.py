"""The language model as an mlx-lm folder."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
import torch
from mlx.utils import tree_flatten
from mlx_lm.models import qwen3
from mlx_lm.utils import quantize_model, save_config, save_model
from torch import Tensor

from converters import names

ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
MLP = ("gate_proj", "up_proj", "down_proj")
SIZES = (
    "hidden_size",
    "num_hidden_layers",
    "intermediate_size",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "rms_norm_eps",
    "vocab_size",
    "max_position_embeddings",
    "tie_word_embeddings",
)
DTYPES = {"float32": mx.float32, "float16": mx.float16, "bfloat16": mx.bfloat16}


@dataclass(frozen=True)
class Mix:
    """Affine quantization of the attention and MLP projections; the rest is bfloat16."""

    attention_bits: int = 8
    mlp_bits: int = 4
    group_size: int = 64

    def rule(self, path: str, module: object) -> bool | dict[str, Any]:
        """Return how a module is quantized, as mlx-lm's predicate."""
        leaf = path.rpartition(".")[2]
        bits = {
            **dict.fromkeys(ATTENTION, self.attention_bits),
            **dict.fromkeys(MLP, self.mlp_bits),
        }
        if leaf not in bits:
            return False
        return {"group_size": self.group_size, "bits": bits[leaf], "mode": "affine"}


Precision = str | Mix


def mlx_config(text_config: Mapping[str, Any], eos: tuple[int, ...]) -> dict[str, Any]:
    """Convert a `text_config` to mlx-lm's config for Qwen3; equal M-RoPE axes are plain RoPE."""
    missing = [name for name in SIZES if name not in text_config]
    if missing:
        raise ValueError(f"text_config is missing {', '.join(missing)}")
    theta = text_config.get("rope_theta") or (text_config.get("rope_parameters") or {}).get(
        "rope_theta"
    )
    if theta is None:
        raise ValueError("text_config has no rope_theta")
    sizes = {name: text_config[name] for name in SIZES}
    return {
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3",
        **sizes,
        "rope_theta": float(theta),
        "hidden_act": "silu",
        "attention_bias": False,
        "eos_token_id": list(eos),
    }


def sizes_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """Select the arguments of mlx-lm's Qwen3."""
    return {name: config[name] for name in ("model_type", "rope_theta", *SIZES)}


def to_mlx(tensor: Tensor, dtype: mx.Dtype) -> mx.array:
    """Copy one tensor to MLX via NumPy, which has no bfloat16."""
    array = mx.array(tensor.detach().to(torch.float32).numpy()).astype(dtype)
    mx.eval(array)
    return array


def load_decoder(
    state: Mapping[str, Tensor], config: Mapping[str, Any], dtype: mx.Dtype
) -> qwen3.Model:
    """Build the language model from a complete checkpoint's state dict, strictly."""
    tensors = names.split(state).decoder
    model = qwen3.Model(qwen3.ModelArgs(**sizes_of(config)))
    head = tensors.pop("lm_head.weight", None) if config["tie_word_embeddings"] else None
    expected = dict(tree_flatten(model.parameters()))
    names.check_names("decoder", tensors, expected)
    if head is not None and not torch.equal(head, tensors["model.embed_tokens.weight"]):
        raise ValueError("lm_head.weight differs from the embeddings, but the config ties them")
    weights = []
    for name in expected:
        if tuple(tensors[name].shape) != expected[name].shape:
            raise ValueError(
                f"decoder {name} has shape {list(tensors[name].shape)}, "
                f"its config says {list(expected[name].shape)}"
            )
        weights.append((name, to_mlx(tensors[name], dtype)))
    model.load_weights(weights, strict=True)
    model.eval()
    return model


def convert_decoder(
    state: Mapping[str, Tensor],
    text_config: Mapping[str, Any],
    out: Path,
    precision: Precision = "bfloat16",
    eos: tuple[int, ...] = (151645, 151643),
) -> Path:
    """Write the language model of a checkpoint as an mlx-lm folder and return its path.

    `precision` is `float32`, `float16`, `bfloat16` or a `Mix`.
    """
    config = mlx_config(text_config, eos)
    dtype = DTYPES["bfloat16" if isinstance(precision, Mix) else precision]
    model = load_decoder(state, config, dtype)
    if isinstance(precision, Mix):
        model, config = quantize_model(
            model,
            config,
            precision.group_size,
            precision.mlp_bits,
            quant_predicate=precision.rule,
        )
    save_model(out, model)
    save_config(config, out / "config.json")
    return out
