"""Read every setting of a Gemma-4 decoder, from its config.json or else from its tensors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from composer.core.errors import Problem
from composer.formats.file_problems import show_bare

from ..checkpoint import LAYERS
from ..config_keys.key_positions import Placed
from ..config_keys.meaning import unread_keys
from . import attention
from .reader import ConfigReader, is_positive
from .settings import FULL, SLIDING, Gemma4Settings, LayerSettings, SizeWithSource

if TYPE_CHECKING:
    from composer.formats.safetensors import Tensor

MODELS = ("gemma4", "gemma4_text")
SHARED = ("eos_token_id", "quantization", "quantization_config", "tie_word_embeddings")
FIXED: Mapping[str, tuple[Any, ...]] = {
    "hidden_activation": (None, "gelu_pytorch_tanh"),
    "hidden_act": (None, "gelu_pytorch_tanh"),
    "attention_bias": (None, False),
    "use_bidirectional_attention": (None, "vision"),
}
READ = frozenset(
    """
    attention_k_eq_v enable_moe_block final_logit_softcapping global_head_dim head_dim hidden_size
    hidden_size_per_layer_input intermediate_size layer_types max_position_embeddings
    moe_intermediate_size num_attention_heads num_experts num_global_key_value_heads
    num_hidden_layers num_key_value_heads num_kv_shared_layers per_layer_config rms_norm_eps
    rope_parameters sliding_window sliding_window_pattern text_config tie_word_embeddings
    top_k_experts use_double_wide_mlp vocab_size vocab_size_per_layer_input
    """.split()
)


def flatten(config: Mapping[str, Any]) -> tuple[dict[str, Any], list[Problem]]:
    """Return the text model's config, flat, and where the outer one contradicts it."""
    inner = config.get("text_config")
    if not isinstance(inner, dict):
        return dict(config), []
    outer = {key: config[key] for key in SHARED if config.get(key) is not None}
    key, problems = "tie_word_embeddings", []
    if inner.get(key, outer.get(key)) != outer.get(key, inner.get(key)):
        message = f"{key} is {outer[key]} outside text_config and {inner[key]} in it"
        problems.append(Problem("W275", message))
    return {**inner, **outer, "model_type": config.get("model_type")}, problems


def read_settings(
    config: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> tuple[Gemma4Settings | None, list[Problem]]:
    """Read a flat config; `tensors` are named from the layers' list on, as embed_tokens.weight.

    The settings are None where they are not sound.
    """
    reader = ConfigReader(config, tensors)
    for key, values in FIXED.items():
        if config.get(key) not in values:
            reader.refuse(key, str(values[-1]))
    count = _count(reader)
    settings = _settings(reader, count) if count else None
    if reader.problems:
        settings = None
    return settings, reader.problems


def unread_problems(config: Mapping[str, Any]) -> Iterator[Placed]:
    """Refuse each key of a flat config that is not read and may change what is computed."""
    for key in unread_keys(config, READ | FIXED.keys()):
        message = f"composer's gemma4 does not read {key}, which is {show_bare(config[key])}"
        hint = "if it changes nothing in these weights, take it out of the config"
        yield (key,), Problem("W257", message, hint=hint)


def _settings(reader: ConfigReader, count: int) -> Gemma4Settings:
    config = reader.config
    hidden = reader.size("hidden_size", "norm.weight")
    vocabulary = reader.size("vocab_size", "embed_tokens.weight")
    kinds = attention.read_layer_types(reader, count)
    dims = attention.read_head_dims(reader, kinds)
    heads = reader.size(
        "num_attention_heads", "layers.0.self_attn.q_proj.weight", per=dims[kinds[0]].value
    )
    shared = attention.read_num_kv_shared_layers(reader, kinds)
    equal = attention.read_keys_are_values(reader, kinds, shared)
    keys = attention.read_kv_heads(reader, kinds, dims, equal)
    width = reader.size("intermediate_size", "layers.0.mlp.gate_proj.weight")
    doubled = _doubled(reader, count, shared, width)
    twice = SizeWithSource(2 * width.value, f"2 (use_double_wide_mlp) x {width.label}")
    layers = []
    for number, kind in enumerate(kinds):
        shares_kv = number >= count - shared
        wide = twice if doubled and shares_kv else width
        layers.append(LayerSettings(kind, dims[kind], keys[kind], wide, shares_kv))
    per_layer = _per_layer(reader)
    experts, most = _experts(reader)
    tied = config.get("tie_word_embeddings") is True or "lm_head.weight" not in reader.tensors
    args = {
        "hidden_size": hidden.value,
        "num_hidden_layers": count,
        "intermediate_size": width.value,
        "num_attention_heads": heads.value,
        "head_dim": dims[SLIDING].value,
        "global_head_dim": dims[FULL].value,
        "rms_norm_eps": reader.number("rms_norm_eps", 1e-6, 1.0),
        "vocab_size": vocabulary.value,
        "vocab_size_per_layer_input": vocabulary.value,
        "num_key_value_heads": keys[SLIDING].value,
        "num_global_key_value_heads": keys[FULL].value if equal else None,
        "num_kv_shared_layers": shared,
        "hidden_size_per_layer_input": per_layer.value,
        "rope_parameters": attention.read_rope(reader, kinds),
        "sliding_window": attention.read_sliding_window(reader, kinds),
        "max_position_embeddings": reader.config.get("max_position_embeddings") or 131072,
        "attention_k_eq_v": equal,
        "final_logit_softcapping": _softcap(reader),
        "use_double_wide_mlp": doubled,
        "enable_moe_block": experts is not None,
        "num_experts": experts and experts[0].value,
        "top_k_experts": most,
        "moe_intermediate_size": experts and experts[1].value,
        "layer_types": kinds,
        "tie_word_embeddings": tied,
    }
    both_ways = _bidirectional(reader, shared)
    return Gemma4Settings(
        hidden, vocabulary, heads, tuple(layers), per_layer, equal, experts, both_ways, args
    )


def _bidirectional(reader: ConfigReader, shared: int) -> bool:
    """Return whether the rows of a picture see each other, which no shared layer computes."""
    key = "use_bidirectional_attention"
    if reader.config.get(key) != "vision":
        return False
    if shared:
        message = f"{key} is vision, and the last {shared} layers share keys and values"
        reader.report("W275", message, hint="no published Gemma-4 has both")
    return True


def _count(reader: ConfigReader) -> int:
    stated = reader.config.get("num_hidden_layers")
    if stated is None:
        reader.report_missing("num_hidden_layers", "which decides what every other layer shares")
    elif type(stated) is not int or not 0 < stated <= LAYERS:
        reader.refuse("num_hidden_layers", f"1 to {LAYERS}")
    else:
        return stated
    return 0


def _doubled(reader: ConfigReader, count: int, shared: int, width: SizeWithSource) -> bool:
    """Return whether layers that share keys and values have an MLP of twice the width."""
    stated = reader.flag("use_double_wide_mlp")
    if stated is not None:
        return stated
    last = reader.tensors.get(f"layers.{count - 1}.mlp.gate_proj.weight")
    return bool(shared) and last is not None and last.shape[:1] == (2 * width.value,)


def _per_layer(reader: ConfigReader) -> SizeWithSource:
    """Return the width of per-layer inputs; each of the vocabulary's ids has a row of them."""
    key, name = "hidden_size_per_layer_input", "per_layer_projection_norm.weight"
    if reader.config.get(key) in (None, 0) and name not in reader.tensors:
        return SizeWithSource(0, f"{key} 0")
    table = reader.tensors.get("embed_tokens_per_layer.weight")
    words = reader.tensors.get("embed_tokens.weight")
    stated = reader.config.get("vocab_size_per_layer_input")
    if table is not None and stated not in (None, *table.shape[:1]):
        message = f"vocab_size_per_layer_input is {stated} but the table has {table.shape[0]} rows"
        reader.report("W275", message, f"{table.name} {list(table.shape)}")
    if table is not None and words is not None and table.shape[:1] != words.shape[:1]:
        reader.report(
            "W275",
            "the embeddings and the per-layer table have other rows",
            f"{table.name} {list(table.shape)}",
            f"{words.name} {list(words.shape)}",
        )
    return reader.size(key, name, least=0)


def _experts(
    reader: ConfigReader,
) -> tuple[tuple[SizeWithSource, SizeWithSource] | None, int | None]:
    """Return how many experts there are, their width, and how many a token takes."""
    stated, gate = reader.flag("enable_moe_block"), "layers.0.router.proj.weight"
    if stated is None:
        stated = gate in reader.tensors
    if not stated:
        return None, None
    count = reader.size("num_experts", gate)
    first = "layers.0.experts.switch_glu.gate_proj.weight"
    width = reader.size("moe_intermediate_size", first, axis=1)
    most = reader.config.get("top_k_experts")
    if most is None:
        reader.report_missing("top_k_experts", "and no tensor shows how many experts a token takes")
    elif type(most) is not int or not 0 < most <= count.value:
        reader.refuse("top_k_experts", f"1 to {count.value}")
    return (count, width), most


def _softcap(reader: ConfigReader) -> float | None:
    key = "final_logit_softcapping"
    if key not in reader.config:
        reader.report_missing(key, "and defaults differ: none and 30")
    stated: float | None = reader.config.get(key)
    if stated is not None and not is_positive(stated):
        reader.refuse(key, "a number above 0, or null")
    return stated
