"""Folders with the names and real shapes of FakeRockert543's Gemma-4, Qwen3-ASR and MERaLiON.

Sizes are those of the published configs. The weights are holes in files.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tests.reference import mega_lora, mega_router
from tests.replica import SPECIALS, safetensors, split_tokenizer, tokenizer

AT = "language_model.model."
GEMMA_SPECIALS = (
    "<pad>", "<eos>", "<bos>", "<|turn>", "<turn|>", "<|channel>", "<channel|>", "<|audio|>",
    "<|audio>", "<audio|>", "<|image|>", "<|image>", "<image|>",
)  # fmt: skip
WINDOW = {True: 512, False: 1024}
AUDIO = {
    "model_type": "gemma4_audio", "hidden_size": 1024, "num_hidden_layers": 12,
    "num_attention_heads": 8, "hidden_act": "silu", "subsampling_conv_channels": [128, 32],
    "conv_kernel_size": 5, "residual_weight": 0.5, "attention_chunk_size": 12,
    "attention_context_left": 13, "attention_context_right": 0, "attention_logit_cap": 50.0,
    "attention_invalid_logits_value": -1e9, "use_clipped_linears": True, "rms_norm_eps": 1e-6,
    "gradient_clipping": 1e10, "output_proj_dims": 1536,
}  # fmt: skip
VISION_OF_LARGE = (1152, 4304, 27, 16, 72)
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Size:
    """One Gemma-4: every `full`th layer attends to all; the last `shared` share keys."""

    hidden: int
    inter: int
    layers: int
    full: int
    heads: int
    keys: int
    wide_keys: int
    shared: int = 0
    double: bool = False
    per_layer: int = 0
    experts: int = 0
    width: int = 0

    @property
    def equal(self) -> bool:
        return not self.per_layer


SIZES = {
    "e2b": Size(1536, 6144, 35, 5, 8, 1, 1, shared=20, double=True, per_layer=256),
    "e4b": Size(2560, 10240, 42, 6, 8, 2, 2, shared=18, per_layer=256),
    "26b-a4b": Size(2816, 2112, 30, 6, 16, 8, 2, experts=128, width=704),
    "31b": Size(5376, 21504, 60, 6, 32, 16, 4),
}


def kinds(size: Size) -> list[str]:
    return [
        "full_attention" if (n + 1) % size.full == 0 else "sliding_attention"
        for n in range(size.layers)
    ]


def shapes(size: Size) -> tuple[dict[str, Shape], dict[str, Shape]]:
    """Return the decoder's matrices that a release quantizes, and its other tensors."""
    big: dict[str, Shape] = {}
    kept: dict[str, Shape] = {"embed_tokens.weight": (262144, size.hidden)}
    kept["norm.weight"] = (size.hidden,)
    if size.per_layer:
        rows = size.layers * size.per_layer
        kept["embed_tokens_per_layer.weight"] = (262144, rows)
        kept["per_layer_model_projection.weight"] = (rows, size.hidden)
        kept["per_layer_projection_norm.weight"] = (size.per_layer,)
    for number, kind in enumerate(kinds(size)):
        at, full = f"layers.{number}.", kind == "full_attention"
        head = 512 if full else 256
        queries, keys = size.heads * head, (size.wide_keys if full else size.keys) * head
        inter = size.inter * (1 + (size.double and number >= size.layers - size.shared))
        big[f"{at}self_attn.q_proj"] = (queries, size.hidden)
        big[f"{at}self_attn.k_proj"] = (keys, size.hidden)
        if not (size.equal and full):
            big[f"{at}self_attn.v_proj"] = (keys, size.hidden)
        big[f"{at}self_attn.o_proj"] = (size.hidden, queries)
        big[f"{at}mlp.gate_proj"] = big[f"{at}mlp.up_proj"] = (inter, size.hidden)
        big[f"{at}mlp.down_proj"] = (size.hidden, inter)
        kept |= {f"{at}self_attn.{name}.weight": (head,) for name in ("q_norm", "k_norm")}
        norms = [f"{p}_layernorm" for p in ("input", "post_attention")]
        norms += [f"{p}_feedforward_layernorm" for p in ("pre", "post")]
        kept[f"{at}layer_scalar"] = (1,)
        if size.per_layer:
            kept[f"{at}per_layer_input_gate.weight"] = (size.per_layer, size.hidden)
            kept[f"{at}per_layer_projection.weight"] = (size.hidden, size.per_layer)
            norms.append("post_per_layer_input_norm")
        if size.experts:
            within = (size.experts, size.width, size.hidden)
            switch = f"{at}experts.switch_glu."
            big[f"{switch}gate_proj"] = big[f"{switch}up_proj"] = within
            big[f"{switch}down_proj"] = (size.experts, size.hidden, size.width)
            kept[f"{at}router.proj.weight"] = (size.experts, size.hidden)
            kept[f"{at}router.scale"] = (size.hidden,)
            kept[f"{at}router.per_expert_scale"] = (size.experts,)
            norms += ["post_feedforward_layernorm_1", "post_feedforward_layernorm_2"]
            norms.append("pre_feedforward_layernorm_2")
        kept |= {f"{at}{name}.weight": (size.hidden,) for name in norms}
    return big, kept


def gemma4(folder: Path, name: str, bits: int | None, every_matrix: bool = False) -> Path:
    """Write FakeRockert543/gemma-4-NAME-it-MLX-*: quantized matrices, all else bf16, and towers.

    With `every_matrix` tables, per-layer path and the projection of sound are quantized too, as
    mlx-vlm's converter has it by default.
    """
    size = SIZES[name]
    big, kept = shapes(size)
    big = {f"{AT}{key}": shape for key, shape in big.items()}
    kept = {f"{AT}{key}": shape for key, shape in kept.items()} | vision_tower(size)
    if size.per_layer:
        kept |= audio_tower(size)
    if every_matrix:
        names = [key for key in kept if re.search(r"embed_(tokens|audio)|per_layer_", key)]
        for key in [name for name in names if len(kept[name]) == 2]:
            big[key.removesuffix(".weight")] = kept.pop(key)
    found: dict[str, tuple[str, Shape]] = {key: ("BF16", shape) for key, shape in kept.items()}
    for key, shape in big.items():
        if bits is None:
            found[f"{key}.weight"] = ("BF16", shape)
            continue
        *outer, columns = shape
        found[f"{key}.weight"] = ("U32", (*outer, columns * bits // 32))
        for part in ("scales", "biases"):
            found[f"{key}.{part}"] = ("BF16", (*outer, columns // 64))
    names = sorted(found)
    half = len(names) // 2
    parts = {"model-00001-of-00002": names[:half], "model-00002-of-00002": names[half:]}
    for part, inside in parts.items():
        safetensors(folder / f"{part}.safetensors", {key: found[key] for key in inside})
    table = {key: f"{part}.safetensors" for part, inside in parts.items() for key in inside}
    index = {"metadata": {}, "weight_map": table}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "config.json").write_text(json.dumps(config(size, bits)))
    tokenizer(folder, GEMMA_SPECIALS)
    return folder


def audio_tower(size: Size) -> dict[str, Shape]:
    """Return the audio tower in MLX's layout, 751 tensors and the projection into the decoder."""
    at = "audio_tower.subsample_conv_projection."
    found: dict[str, Shape] = {
        f"{at}layer0.conv.weight": (128, 3, 3, 1), f"{at}layer0.norm.weight": (128,),
        f"{at}layer1.conv.weight": (32, 3, 3, 128), f"{at}layer1.norm.weight": (32,),
        f"{at}input_proj_linear.weight": (1024, 1024),
        "audio_tower.output_proj.weight": (1536, 1024), "audio_tower.output_proj.bias": (1536,),
        "embed_audio.embedding_projection.weight": (size.hidden, 1536),
    }  # fmt: skip
    for number in range(12):
        at = f"audio_tower.layers.{number}."
        for name in ("norm_pre_attn", "norm_post_attn", "norm_out", "lconv1d.pre_layer_norm",
                     "lconv1d.conv_norm", "feed_forward1.pre_layer_norm",
                     "feed_forward1.post_layer_norm", "feed_forward2.pre_layer_norm",
                     "feed_forward2.post_layer_norm"):  # fmt: skip
            found[f"{at}{name}.weight"] = (1024,)
        found[f"{at}self_attn.relative_k_proj.weight"] = (1024, 1024)
        found[f"{at}self_attn.per_dim_scale"] = (128,)
        found[f"{at}lconv1d.depthwise_conv1d.weight"] = (1024, 5, 1)
        clipped: dict[str, Shape] = {f"self_attn.{x}_proj": (1024, 1024) for x in "qkv"}
        clipped |= {"self_attn.post": (1024, 1024), "lconv1d.linear_start": (2048, 1024)}
        clipped["lconv1d.linear_end"] = (1024, 1024)
        for part in ("feed_forward1", "feed_forward2"):
            clipped[f"{part}.ffw_layer_1"] = (4096, 1024)
            clipped[f"{part}.ffw_layer_2"] = (1024, 4096)
        for name, shape in clipped.items():
            found[f"{at}{name}.linear.weight"] = shape
            for bound in ("input_min", "input_max", "output_min", "output_max"):
                found[f"{at}{name}.{bound}"] = ()
    return found


def vision_config(size: Size) -> dict[str, Any]:
    """Return the config of the vision tower, as published."""
    small = bool(size.per_layer)
    width, inner, layers, heads, head = (768, 3072, 16, 12, 64) if small else VISION_OF_LARGE
    return {
        "model_type": "gemma4_vision", "hidden_size": width, "intermediate_size": inner,
        "num_hidden_layers": layers, "num_attention_heads": heads, "num_key_value_heads": heads,
        "head_dim": head, "global_head_dim": head, "hidden_activation": "gelu_pytorch_tanh",
        "rms_norm_eps": 1e-6, "patch_size": 16, "pooling_kernel_size": 3,
        "position_embedding_size": 10240, "use_clipped_linears": small, "standardize": not small,
        "default_output_length": 280, "attention_bias": False, "attention_dropout": 0.0,
        "rope_parameters": {"rope_theta": 100.0, "rope_type": "default"},
    }  # fmt: skip


def vision_tower(size: Size) -> dict[str, Shape]:
    """Return the vision tower, 658 or 355 tensors, and the projection into the decoder."""
    config = vision_config(size)
    width, inner, head = (config[k] for k in ("hidden_size", "intermediate_size", "head_dim"))
    found: dict[str, Shape] = {
        "vision_tower.patch_embedder.input_proj.weight": (width, 768),
        "vision_tower.patch_embedder.position_embedding_table": (2, 10240, width),
        "embed_vision.embedding_projection.weight": (size.hidden, width),
    }
    if config["standardize"]:
        found |= {f"vision_tower.std_{name}": (width,) for name in ("bias", "scale")}
    for number in range(config["num_hidden_layers"]):
        at = f"vision_tower.encoder.layers.{number}."
        for name in ("input", "post_attention", "pre_feedforward", "post_feedforward"):
            found[f"{at}{name}_layernorm.weight"] = (width,)
        found |= {f"{at}self_attn.{name}_norm.weight": (head,) for name in "qk"}
        linears = {f"self_attn.{name}_proj": (width, width) for name in "qkvo"}
        linears |= {"mlp.gate_proj": (inner, width), "mlp.up_proj": (inner, width)}
        linears["mlp.down_proj"] = (width, inner)
        for name, shape in linears.items():
            found[f"{at}{name}.linear.weight"] = shape
            if config["use_clipped_linears"]:
                for bound in ("input_min", "input_max", "output_min", "output_max"):
                    found[f"{at}{name}.{bound}"] = ()
    return found


def config(size: Size, bits: int | None) -> dict[str, Any]:
    """Return config.json, as published."""
    text = {
        "model_type": "gemma4_text", "hidden_size": size.hidden, "intermediate_size": size.inter,
        "num_hidden_layers": size.layers, "num_attention_heads": size.heads,
        "num_key_value_heads": size.keys, "head_dim": 256, "global_head_dim": 512,
        "num_global_key_value_heads": size.wide_keys if size.equal else None,
        "num_kv_shared_layers": size.shared, "use_double_wide_mlp": size.double,
        "hidden_size_per_layer_input": size.per_layer, "vocab_size_per_layer_input": 262144,
        "vocab_size": 262144, "rms_norm_eps": 1e-6, "sliding_window": WINDOW[bool(size.per_layer)],
        "layer_types": kinds(size), "final_logit_softcapping": 30.0,
        "attention_k_eq_v": size.equal, "enable_moe_block": bool(size.experts),
        "num_experts": size.experts or None, "top_k_experts": 8 if size.experts else None,
        "moe_intermediate_size": size.width or None, "tie_word_embeddings": True,
        "max_position_embeddings": 131072 if size.per_layer else 262144,
        "hidden_activation": "gelu_pytorch_tanh", "attention_bias": False,
        "use_bidirectional_attention": "vision" if size.equal else None,
        "rope_parameters": {
            "full_attention": {
                "rope_type": "proportional", "rope_theta": 1e6, "partial_rotary_factor": 0.25,
            },
            "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
        },
    }  # fmt: skip
    whole: dict[str, Any] = {"model_type": "gemma4", "text_config": text, "eos_token_id": [1, 106]}
    whole |= {"vision_config": vision_config(size), "audio_token_id": 258881}
    whole["audio_config"] = AUDIO if size.per_layer else None
    if bits:
        whole["quantization"] = {"group_size": 64, "bits": bits, "mode": "affine"}
        whole["quantization_config"] = whole["quantization"]
    return whole


def qwen3_asr(folder: Path, width: int, inner: int) -> Path:
    """Write a release of Qwen3-ASR: one checkpoint in bfloat16, a tokenizer in three files."""
    layers, heads, d_model, ffn = (18, 14, 896, 3584) if width == 1024 else (24, 16, 1024, 4096)
    found = {"thinker.lm_head.weight": (151936, width), **_qwen3_shapes("thinker.", width, inner)}
    found |= _audio_shapes(layers, d_model, ffn, width)
    thinker = {
        "audio_config": _audio_config(layers, heads, d_model, ffn, width),
        "text_config": _text_config(width, inner),
    }
    config = {"model_type": "qwen3_asr", "thinker_config": thinker}
    _write_qwen3(folder, found, config, SPECIALS)
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [258, 256]}))
    return folder


def mega_asr(folder: Path) -> Path:
    """Write a release of Mega-ASR: Qwen3-ASR-1.7B, its adapter and its router.

    The adapter's modules of the decoder go by two names each, which are 539 with the encoder's.
    """
    qwen3_asr(folder / "Qwen3-ASR-1.7B", 2048, 6144)
    base = _qwen3_shapes("thinker.", 2048, 6144) | _audio_shapes(24, 1024, 4096, 2048)
    found: dict[str, tuple[str, Shape]] = {}
    for name, shape in base.items():
        if not mega_lora.adapted(name, np.empty(shape, bool)):
            continue
        module = name.removesuffix(".weight")
        for raw in {module, module.replace("thinker.model.layers.", "thinker.layers.")}:
            at = f"base_model.model.{raw}.lora_"
            found[f"{at}A.weight"] = ("F32", (24, shape[1]))
            found[f"{at}B.weight"] = ("F32", (shape[0], 24))
    _, config, _ = mega_lora.make_lora({})
    mega_lora.save_lora({}, config, {}, folder / "mega-asr-merged")
    safetensors(folder / "mega-asr-merged/adapter_model.safetensors", found)
    router = mega_router.make_router(channels=128, width=256, ffn=1024, hidden=128)
    (folder / "audio_quality_router").mkdir()
    mega_router.save_router(router, folder / "audio_quality_router/best_acc_model.safetensors")
    assert len(found) == 2 * 539
    return folder


def forced_aligner(folder: Path) -> Path:
    """Write a release of Qwen3-ForcedAligner-0.6B, whose head names classes of time."""
    rows, width, sizes = 152064, 1024, (24, 16, 1024, 4096)
    found = {"thinker.lm_head.weight": (5000, width), **_qwen3_shapes("thinker.", width, 3072)}
    found["thinker.model.embed_tokens.weight"] = (rows, width)
    found |= _audio_shapes(24, 1024, 4096, width)
    text = {**_text_config(width, 3072), "vocab_size": rows, "tie_word_embeddings": False}
    thinker = {
        "audio_config": _audio_config(*sizes, width),
        "text_config": text,
        "classify_num": 5000,
        "model_type": "qwen3_forced_aligner",
    }
    config = {
        "model_type": "qwen3_asr",
        "thinker_config": thinker,
        "timestamp_segment_time": 80,
        "timestamp_token_id": 151705,
    }
    _write_qwen3(folder, found, config, (*SPECIALS, "<timestamp>"))
    return folder


def _write_qwen3(
    folder: Path, shapes: dict[str, Shape], config: dict[str, Any], specials: tuple[str, ...]
) -> None:
    safetensors(folder / "model.safetensors", {name: ("BF16", at) for name, at in shapes.items()})
    (folder / "config.json").write_text(json.dumps(config))
    tokenizer(folder, specials)
    split_tokenizer(folder)


def _audio_config(layers: int, heads: int, d_model: int, ffn: int, width: int) -> dict[str, Any]:
    return {
        "model_type": "qwen3_asr_audio_encoder", "num_mel_bins": 128, "encoder_layers": layers,
        "encoder_attention_heads": heads, "encoder_ffn_dim": ffn, "d_model": d_model,
        "output_dim": width, "n_window": 50, "n_window_infer": 800, "conv_chunksize": 500,
        "downsample_hidden_size": 480, "activation_function": "gelu", "scale_embedding": False,
        "max_source_positions": 1500, "dropout": 0,
    }  # fmt: skip


def _text_config(width: int, inner: int) -> dict[str, Any]:
    return {
        "model_type": "qwen3", "hidden_size": width, "num_hidden_layers": 28,
        "intermediate_size": inner, "num_attention_heads": 16, "num_key_value_heads": 8,
        "head_dim": 128, "rms_norm_eps": 1e-6, "vocab_size": 151936, "rope_theta": 1e6,
        "max_position_embeddings": 65536, "tie_word_embeddings": True,
        "rope_scaling": {"mrope_interleaved": True, "mrope_section": [24, 20, 20],
                         "rope_type": "default"},
    }  # fmt: skip


def _qwen3_shapes(before: str, width: int, inner: int) -> dict[str, Shape]:
    found: dict[str, Shape] = {
        f"{before}model.embed_tokens.weight": (151936, width),
        f"{before}model.norm.weight": (width,),
    }
    for layer in range(28):
        at = f"{before}model.layers.{layer}."
        for norm in ("input_layernorm", "post_attention_layernorm"):
            found[f"{at}{norm}.weight"] = (width,)
        for name, shape in (
            ("q_norm", (128,)), ("k_norm", (128,)), ("q_proj", (2048, width)),
            ("k_proj", (1024, width)), ("v_proj", (1024, width)), ("o_proj", (width, 2048)),
        ):  # fmt: skip
            found[f"{at}self_attn.{name}.weight"] = shape
        for name, shape in (
            ("gate_proj", (inner, width)), ("up_proj", (inner, width)),
            ("down_proj", (width, inner)),
        ):  # fmt: skip
            found[f"{at}mlp.{name}.weight"] = shape
    return found


def _audio_shapes(layers: int, d_model: int, ffn: int, out: int) -> dict[str, Shape]:
    at = "thinker.audio_tower."
    linears = {"conv_out": (d_model, 7680), "proj1": (d_model, d_model), "proj2": (out, d_model)}
    for layer in range(layers):
        inside = f"layers.{layer}."
        for name in "qkv":
            linears[f"{inside}self_attn.{name}_proj"] = (d_model, d_model)
        linears[f"{inside}self_attn.out_proj"] = (d_model, d_model)
        linears |= {f"{inside}fc1": (ffn, d_model), f"{inside}fc2": (d_model, ffn)}
    norms = [f"layers.{layer}.{name}_layer_norm" for layer in range(layers)
             for name in ("self_attn", "final")]  # fmt: skip
    found: dict[str, Shape] = {}
    for number, channels in (("1", 1), ("2", 480), ("3", 480)):
        found[f"{at}conv2d{number}.weight"] = (480, channels, 3, 3)
        found[f"{at}conv2d{number}.bias"] = (480,)
    for name, shape in linears.items():
        found[f"{at}{name}.weight"] = shape
        if name != "conv_out":
            found[f"{at}{name}.bias"] = shape[:1]
    for name in (*norms, "ln_post"):
        found |= {f"{at}{name}.weight": (d_model,), f"{at}{name}.bias": (d_model,)}
    return found


GEMMA2 = {
    "2-3b": (2304, 9216, 26, 8),
    "2-10b": (3584, 14336, 42, 16),
    "3-10b": (3584, 14336, 42, 16),
}


def meralion(folder: Path, name: str) -> Path:
    """Write a release of MERaLiON: a Whisper encoder, its adaptor and a Gemma-2, in bfloat16."""
    width, inner, layers, heads = GEMMA2[name]
    found = _whisper_shapes("speech_encoder.", layers=32, d_model=1280, ffn=5120)
    found |= {"ln_speech.weight": (1280,), "ln_speech.bias": (1280,)}
    for part, shape in (
        ("mlp_adapter.0", (6400, 19200)), ("gate_proj", (6400, 6400)),
        ("pool_proj", (6400, 6400)), ("out_proj", (width, 6400)),
    ):  # fmt: skip
        found[f"speech_audio_adapter.{part}.weight"] = shape
        found[f"speech_audio_adapter.{part}.bias"] = shape[:1]
    found |= _gemma2_shapes("text_decoder.model.", width, inner, layers, heads)
    safetensors(folder / "model.safetensors", {key: ("BF16", at) for key, at in found.items()})
    text = {
        "model_type": "gemma2", "hidden_size": width, "intermediate_size": inner,
        "num_hidden_layers": layers, "num_attention_heads": heads, "head_dim": 256,
        "num_key_value_heads": heads // 2, "query_pre_attn_scalar": 256, "sliding_window": 4096,
        "attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0, "vocab_size": 256000,
        "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "max_position_embeddings": 8192,
        "hidden_activation": "gelu_pytorch_tanh", "eos_token_id": [1, 107],
    }  # fmt: skip
    speech = {"d_model": 1280, "encoder_layers": 32, "encoder_attention_heads": 20,
              "num_mel_bins": 128, "max_source_positions": 1500}  # fmt: skip
    config = {"model_type": "meralion2", "text_config": text, "speech_config": speech,
              "speech_mlp_scale_factor": 15, "speech_token_index": 255999}  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    marks = ("<pad>", "<eos>", "<bos>", "<start_of_turn>", "<end_of_turn>")
    tokenizer(folder, marks)
    return folder


def _whisper_shapes(at: str, layers: int, d_model: int, ffn: int) -> dict[str, Shape]:
    found: dict[str, Shape] = {
        f"{at}conv1.weight": (d_model, 128, 3), f"{at}conv2.weight": (d_model, d_model, 3),
        f"{at}conv1.bias": (d_model,), f"{at}conv2.bias": (d_model,),
        f"{at}embed_positions.weight": (1500, d_model),
    }  # fmt: skip
    norms = [f"layers.{number}.{name}" for number in range(layers)
             for name in ("self_attn_layer_norm", "final_layer_norm")]  # fmt: skip
    for name in (*norms, "layer_norm"):
        found |= {f"{at}{name}.weight": (d_model,), f"{at}{name}.bias": (d_model,)}
    for number in range(layers):
        layer = f"{at}layers.{number}."
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            found[f"{layer}self_attn.{name}.weight"] = (d_model, d_model)
            if name != "k_proj":
                found[f"{layer}self_attn.{name}.bias"] = (d_model,)
        found |= {f"{layer}fc1.weight": (ffn, d_model), f"{layer}fc1.bias": (ffn,)}
        found |= {f"{layer}fc2.weight": (d_model, ffn), f"{layer}fc2.bias": (d_model,)}
    return found


def _gemma2_shapes(at: str, width: int, inner: int, layers: int, heads: int) -> dict[str, Shape]:
    found: dict[str, Shape] = {
        f"{at}embed_tokens.weight": (256000, width), f"{at}norm.weight": (width,)
    }  # fmt: skip
    norms = ("input", "post_attention", "pre_feedforward", "post_feedforward")
    queries, keys = heads * 256, heads * 128
    for number in range(layers):
        layer = f"{at}layers.{number}."
        found |= {f"{layer}{name}_layernorm.weight": (width,) for name in norms}
        for name, shape in (
            ("self_attn.q_proj", (queries, width)), ("self_attn.k_proj", (keys, width)),
            ("self_attn.v_proj", (keys, width)), ("self_attn.o_proj", (width, queries)),
            ("mlp.gate_proj", (inner, width)), ("mlp.up_proj", (inner, width)),
            ("mlp.down_proj", (width, inner)),
        ):  # fmt: skip
            found[f"{layer}{name}.weight"] = shape
    return found
