"""Every decoder that mlx.lm accepts and transformers builds, each config key at other values."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import torch
import transformers
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models
from transformers import AutoModelForCausalLM
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from composer.components.mlx.lm import MlxLanguageModel
from composer.components.onnx.lm import OnnxLanguageModel
from composer.core.component import ComponentConfig, Spec
from composer.core.errors import ComposerError
from composer.core.location import Location
from composer.core.placement import Placement
from composer.formats import Headers
from tests.streams import ids_of

ROWS, LENGTH, COUNT = 160, 40, 8
IDS = np.random.default_rng(7).integers(3, ROWS, LENGTH)
SIZES: dict[str, Any] = {
    "vocab_size": ROWS,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 256,
    "initializer_range": 0.15,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
EXPERTS: dict[str, Any] = {"num_experts_per_tok": 2, "moe_intermediate_size": 32}
FULL, SLIDING = "full_attention", "sliding_attention"
TWO = {
    FULL: {"rope_type": "default", "rope_theta": 50000.0},
    SLIDING: {"rope_type": "default", "rope_theta": 10000.0},
}
KINDS: dict[str, dict[str, Any]] = {
    "llama": {},
    "mistral": {"sliding_window": None},
    "qwen2": {},
    "qwen3": {},
    "smollm3": {},
    "gemma3_text": {"sliding_window": 16, "query_pre_attn_scalar": 16,
                    "layer_types": [SLIDING, FULL] * 2},
    "qwen3_moe": {**EXPERTS, "num_experts": 4},
    "mixtral": {"num_experts_per_tok": 2, "num_local_experts": 4},
    "lfm2": {"layer_types": ["conv", FULL, "conv", FULL], "block_auto_adjust_ff_dim": False},
    "lfm2_moe": {"layer_types": ["conv", FULL, "conv", FULL], **EXPERTS, "num_experts": 4,
                 "num_dense_layers": 1},
    "laguna": {**EXPERTS, "num_experts": 4, "shared_expert_intermediate_size": 32,
               "sliding_window": 16, "layer_types": [FULL, SLIDING] * 2,
               "rope_parameters": {FULL: {**TWO[FULL], "partial_rotary_factor": 0.5},
                                   SLIDING: {**TWO[SLIDING], "partial_rotary_factor": 1.0}}},
    "mellum": {**EXPERTS, "num_experts": 4, "sliding_window": 16, "rope_parameters": TWO,
               "layer_types": [FULL, SLIDING] * 2},
    "iquestcoder": {},
    "ministral3": {},
    "mistral4": {"moe_intermediate_size": 32, "n_routed_experts": 4, "num_experts_per_tok": 2,
                 "kv_lora_rank": 32, "q_lora_rank": 32, "qk_rope_head_dim": 16,
                 "v_head_dim": 16, "qk_nope_head_dim": 16, "num_key_value_heads": 4,
                 "qk_head_dim": 32, "head_dim": 32},
    "qwen3_5_text": {"linear_num_value_heads": 4, "linear_num_key_heads": 2,
                     "linear_key_head_dim": 16, "linear_value_head_dim": 16},
    "gemma2": {"sliding_window": 12, "query_pre_attn_scalar": 16, "head_dim": 16},
}  # fmt: skip
ROPES: tuple[dict[str, Any], ...] = (
    {"rope_type": "default", "rope_theta": 500000.0},
    {"rope_type": "linear", "factor": 4.0},
    {"rope_type": "dynamic", "factor": 4.0},
    {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
     "original_max_position_embeddings": 32},
    {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64},
    {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64,
     "attention_factor": 1.0},
    {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64,
     "mscale": 0.7, "mscale_all_dim": 0.4},
    {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64, "mscale": 0.7},
    {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64,
     "beta_fast": 16.0, "beta_slow": 2.0},
    {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64,
     "truncate": False},
    {"rope_type": "longrope", "factor": 4.0, "original_max_position_embeddings": 64,
     "short_factor": [1.0] * 8, "long_factor": [2.0] * 8},
)  # fmt: skip
OTHER: dict[str, tuple[Any, ...]] = {
    "hidden_act": ("gelu", "relu", "gelu_pytorch_tanh"),
    "hidden_activation": ("silu", "gelu"),
    "layer_types": ([FULL, SLIDING, FULL, SLIDING], [SLIDING] * 4, [SLIDING, SLIDING, FULL, FULL]),
    "sliding_window": (12,),
    "head_dim": (32,),
    "num_key_value_heads": (4, 1),
    "rms_norm_eps": (1e-3,),
    "norm_eps": (1e-3,),
    "tie_word_embeddings": (True, False),
    "final_logit_softcapping": (0.5,),
    "attn_logit_softcapping": (0.5,),
    "max_window_layers": (1,),
    "no_rope_layers": ([1, 0, 1, 1],),
    "no_rope_layer_interval": (2,),
    "query_pre_attn_scalar": (64,),
    "mlp_only_layers": ([1],),
    "decoder_sparse_step": (2,),
    "num_experts_per_tok": (1,),
    "num_attention_heads_per_layer": ([2, 4, 2, 4],),
    "mlp_layer_types": (["sparse"] * 4, ["dense", "dense", "sparse", "sparse"]),
    "gating": (False,),
    "conv_L_cache": (4,),
    "max_position_embeddings": (128,),
    "rope_parameters": ROPES,
    "routed_scaling_factor": (1.7,),
    "moe_routed_scaling_factor": (1.7,),
    "moe_router_logit_softcapping": (0.5,),
    "use_sliding_window": (True,),
    "full_attn_idxs": ([0, 1],),
    "block_multiple_of": (32,),
    "block_ffn_dim_multiplier": (1.5,),
    "_sliding_window_pattern": (3,),
    "full_attention_interval": (2,),
    "n_shared_experts": (2,),
    "n_group": (2,),
    "topk_group": (2,),
    "first_k_dense_replace": (1,),
    "num_dense_layers": (2,),
    "intermediate_size": (64,),
    "moe_intermediate_size": (64,),
}
TOGETHER: dict[str, tuple[dict[str, Any], ...]] = {
    "mistral": ({"sliding_window": 12}, {"sliding_window": 400}),
    "mixtral": ({"sliding_window": 12},),
    "qwen2": ({"use_sliding_window": True, "sliding_window": 12, "max_window_layers": 2},),
    "qwen3": ({"use_sliding_window": True, "sliding_window": 12, "max_window_layers": 2},
              {"use_sliding_window": True, "sliding_window": 12,
               "layer_types": [SLIDING, FULL] * 2}),
    "qwen3_moe": ({"use_sliding_window": True, "sliding_window": 12},),
    "smollm3": ({"use_sliding_window": True, "sliding_window": 12,
                 "layer_types": [FULL, SLIDING] * 2},),
}  # fmt: skip
# Models for images and text, by the text model inside them.
WRAPPED = {
    "gemma3": "gemma3_text",
    "lfm2-vl": "lfm2",
    "llava": "llama",
    "mistral3": "mistral",
    "pixtral": "mistral",
    "qwen2_5_vl": "qwen2",
    "qwen2_vl": "qwen2",
    "qwen3_5": "qwen3_5_text",
    "qwen3_vl": "qwen3",
    "qwen3_vl_moe": "qwen3_moe",
}
# Models of other names that are, by their publishers' code, the one that transformers builds.
RENAMED = {"telechat3": "llama", "xverse": "llama"}
ALL = (*KINDS, *WRAPPED, *RENAMED)
SKIPPED = frozenset(
    """
    architectures bos_token_id eos_token_id pad_token_id model_type transformers_version
    vocab_size hidden_size num_hidden_layers num_attention_heads id2label label2id rope_theta
    """.split()
)


@dataclass(frozen=True)
class Case:
    """An architecture with one change.

    `drop` is a key that is taken out of the saved config, `null` one that is null there, and with
    `old` rope_parameters are spelled as before transformers 5.
    """

    kind: str
    name: str
    change: dict[str, Any]
    drop: str | None = None
    null: str | None = None
    old: bool = False
    outer: str | None = None


@dataclass(frozen=True)
class Outcome:
    """`right`, `refused` by name, `not built` by transformers, or what went wrong."""

    case: Case
    what: str
    detail: str = ""


def cases(name: str) -> Iterator[Case]:
    """Yield every change of one architecture."""
    kind = (WRAPPED | RENAMED).get(name, name)
    for case in inner_cases(kind):
        yield case if kind == name else replace(case, outer=name)


def inner_cases(kind: str) -> Iterator[Case]:
    """Yield every change of a text model."""
    yield Case(kind, "as it is", {})
    config = built_config(kind, {})
    for key, value in config.items():
        if key in SKIPPED or (value is None and key not in OTHER):
            continue
        for other in others(key, value):
            yield Case(kind, f"{key}: {shortened(other)}", {key: other})
            if key == "rope_parameters" and FULL not in other:
                yield Case(kind, f"rope_scaling: {shortened(other)}", {key: other}, old=True)
    for change in TOGETHER.get(kind, ()):
        yield Case(kind, ", ".join(f"{k}: {shortened(v)}" for k, v in change.items()), change)
    for key in config:
        if key not in ("model_type", "vocab_size", "hidden_size", "num_hidden_layers"):
            yield Case(kind, f"{key} absent", {}, drop=key)
            if config[key] is not None:
                yield Case(kind, f"{key}: null", {}, null=key)


def others(key: str, value: Any) -> tuple[Any, ...]:
    """Return other values for a key."""
    if key in OTHER:
        found = OTHER[key]
        if key == "rope_parameters" and isinstance(value, dict) and FULL in value:
            plain = value.get(SLIDING)
            found = tuple({FULL: {"rope_theta": 50000.0, **each}, SLIDING: plain} for each in found)
        elif key == "rope_parameters":
            base = {k: v for k, v in (value or {}).items() if k in ("partial_rotary_factor",)}
            found = tuple({"rope_theta": 10000.0, **base, **each} for each in found)
        return tuple(each for each in found if each != value)
    if isinstance(value, bool):
        return (not value,)
    if isinstance(value, float):
        return (value * 2 + 0.5,)
    return ()


def shortened(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) < 120 else text[:117] + "..."


def settings(kind: str, change: dict[str, Any]) -> dict[str, Any]:
    return {**SIZES, **KINDS[kind], **change}


def built_config(kind: str, change: dict[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(
        CONFIG_MAPPING[kind](**settings(kind, change)).to_json_string(use_diff=False)
    )
    return {key: value for key, value in made.items() if not key.startswith("_") or key in OTHER}


def build(case: Case) -> Any:
    """Return the model of transformers, its norms not all ones."""
    config = CONFIG_MAPPING[case.kind](**settings(case.kind, case.change))
    torch.manual_seed(0)
    return stirred(made(config).eval())


def stirred(model: Any) -> Any:
    """Change a model's norms, which are all ones, and what is zero throughout."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for value in model.parameters():
            if value.ndim == 1:
                value.add_(torch.randn(value.shape, generator=generator) * 0.2)
            elif value.std() == 0:
                value.normal_(0.0, 0.15, generator=generator)
    return model


def made(config: Any) -> Any:
    """Return a text model, of which the mapping of transformers does not know every one."""
    own = getattr(transformers, f"{type(config).__name__.removesuffix('Config')}ForCausalLM", None)
    if own is not None and own.config_class is type(config):
        return own._from_config(config, attn_implementation="eager")
    return AutoModelForCausalLM.from_config(config, attn_implementation="eager")


def save(case: Case, model: Any, folder: Path) -> Any:
    """Write a folder as transformers does, without a key; return the model that transformers reads.

    It gets a tokenizer of words, and stands in another model where mlx-lm knows it only so.
    """
    model.save_pretrained(folder)
    path = folder / "config.json"
    config = json.loads(path.read_text())
    if case.drop or case.null or case.old:
        config.pop(case.drop, None)
        if case.null:
            config[case.null] = None
        if case.old:
            spell_as_before(config)
        path.write_text(json.dumps(config, indent=1))
        model = type(model).from_pretrained(folder, attn_implementation="eager").float().eval()
    if case.outer in RENAMED:
        config = json.loads(path.read_text())
        path.write_text(json.dumps(config | {"model_type": case.outer}, indent=1))
    elif case.outer:
        wrap(folder, case.outer)
    words = Tokenizer(models.WordLevel({f"w{n}": n for n in range(ROWS)}, unk_token="w0"))
    words.decoder = decoders.Fuse()
    words.save(str(folder / "tokenizer.json"))
    return model


def spell_as_before(config: dict[str, Any]) -> None:
    """Spell how positions turn as `rope_theta` and `rope_scaling`."""
    rules = config.pop("rope_parameters")
    config["rope_theta"] = rules.pop("rope_theta")
    config["rope_scaling"] = {"type": rules.pop("rope_type"), **rules}


def wrap(folder: Path, outer: str) -> None:
    """Nest a text model as the checkpoints of models for images and text do."""
    path = folder / "config.json"
    inner = json.loads(path.read_text())
    names = {"model_type": outer}
    if "tie_word_embeddings" in inner:
        names["tie_word_embeddings"] = inner["tie_word_embeddings"]
    path.write_text(json.dumps({**names, "vocab_size": ROWS, "text_config": inner}, indent=1))
    tensors = load_file(folder / "model.safetensors")
    if outer == "lfm2-vl":
        for name in [name for name in tensors if name.endswith("conv.conv.weight")]:
            tensors[name] = tensors[name].swapaxes(1, 2).contiguous()
    if outer == "qwen3_vl_moe":
        join_experts(tensors)
    tensors = {f"language_model.{name}": value for name, value in tensors.items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def join_experts(tensors: dict[str, Any]) -> None:
    """Join the experts of each layer: gates and ups [E, D, 2 I], downs [E, I, D]."""
    for first in [name for name in tensors if name.endswith("experts.0.gate_proj.weight")]:
        at = first.removesuffix("0.gate_proj.weight")
        parts: dict[str, list[Any]] = {"gate_proj": [], "up_proj": [], "down_proj": []}
        for part, found in parts.items():
            while (name := f"{at}{len(found)}.{part}.weight") in tensors:
                found.append(tensors.pop(name).T)
        gates, ups, downs = (torch.stack(each) for each in parts.values())
        tensors[f"{at}gate_up_proj"] = torch.cat([gates, ups], 2)
        tensors[f"{at}down_proj"] = downs.contiguous()


def greedy_of_torch(model: Any) -> list[int]:
    ids = torch.tensor(IDS)[None]
    with torch.no_grad():
        for _ in range(COUNT):
            ids = torch.cat(
                [ids, model(input_ids=ids, use_cache=False).logits[:, -1:].argmax(-1)], 1
            )
    found: list[int] = ids[0, LENGTH:].tolist()
    return found


def run(case: Case, folder: Path, backend: str = "mlx") -> Outcome:
    """Compare one case with transformers."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            model = build(case)
            model = save(case, model, folder)
            theirs = greedy_of_torch(model)
            with torch.no_grad():
                logits = model(input_ids=torch.tensor(IDS)[None], use_cache=False).logits[0].numpy()
        except Exception as error:
            return Outcome(case, "not built", f"{type(error).__name__}: {str(error)[:100]}")
    component: Any = {"mlx": MlxLanguageModel, "onnx": OnnxLanguageModel}[backend]
    config = getattr(component, "Config", ComponentConfig)()
    spec = Spec("decoder", config, Location("repo", "", folder.parent) / folder.name)
    try:
        lm = component.load(spec, component.facts(spec, Headers()), Placement())
        embeds = lm.embed(mx.array(IDS) if backend == "mlx" else IDS)
        ours = np.array(lm.logits(embeds))
        ids = ids_of(lm.generate(embeds, max_tokens=COUNT))
    except ComposerError as error:
        first = error.problems[0]
        kind = "refused" if first.code.startswith(("W", "S")) else "LATE"
        return Outcome(case, kind, str(first).replace(f"repo/{folder.name}/", "")[:300])
    except Exception as error:
        return Outcome(case, "CRASH", f"{type(error).__name__}: {str(error)[:200]}")
    theirs = theirs[: theirs.index(2)] if 2 in theirs else theirs
    away = float(np.abs(ours - logits).max() / np.abs(logits).max())
    same = ids == theirs
    return Outcome(case, "right" if same and away < 1e-3 else "WRONG", f"{away:.1e} {same}")
