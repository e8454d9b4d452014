"""Write Gemma-4 and Qwen3-ASR as llama.cpp's convert_hf_to_gguf.py does, in gguf's own names."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gguf import GGUFWriter, TokenType, get_tensor_name_map
from gguf.constants import MODEL_ARCH
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers

from tests.models.gguf_files import add_value, packed
from tests.reference.test_qwen3_asr_released import released_name

ENDINGS = (".weight", ".bias", ".input_max", ".input_min", ".output_max", ".output_min")
GEMMA4 = "gemma4"
FULL, SLIDING = "full_attention", "sliding_attention"
Change = Callable[[dict[str, Any], dict[str, np.ndarray]], None]


tensor_names = cache(get_tensor_name_map)


def their_name(name: str, arch: MODEL_ARCH, layers: int) -> str:
    """Return llama.cpp's name of a tensor, by the table of the gguf package."""
    found = tensor_names(arch, layers).get_name(name, try_suffixes=ENDINGS)
    assert found, name
    return found


def text_tensors(state: Mapping[str, torch.Tensor], layers: int) -> dict[str, tuple[str, Any]]:
    """Return the tensors of a decoder, named from model. on, by the names of the file."""
    found = {}
    for name, value in state.items():
        if name == "lm_head.weight":
            continue
        if name.endswith("router.scale"):
            theirs = f"blk.{name.split('.')[2]}.ffn_gate_inp.scale"
        elif name.endswith("per_expert_scale"):
            theirs = f"blk.{name.split('.')[2]}.ffn_down_exps.scale"
        else:
            ends = name.endswith("layer_scalar") or ".experts." in name
            theirs = their_name(name + ".weight" * ends, MODEL_ARCH.GEMMA4, layers)
        found[theirs] = (name, value.float().numpy())
    return found


def gemma_tokenizer(special: tuple[str, ...]) -> Tokenizer:
    """Make a tokenizer in the form of Gemma-4's tokenizer.json, with a few merges."""
    letters = [chr(code) for code in range(33, 127)]
    pairs = [("\u2581", "t"), ("h", "e"), ("\u2581t", "he"), ("i", "s"), ("\n", "\n")]
    vocabulary = [*special, *(f"<0x{number:02X}>" for number in range(256)), "\n", "\u2581"]
    vocabulary += [*letters, *("".join(pair) for pair in pairs)]
    vocab = {token: number for number, token in enumerate(vocabulary)}
    made = Tokenizer(models.BPE(vocab=vocab, merges=pairs, byte_fallback=True, fuse_unk=True))
    made.normalizer = normalizers.Replace(" ", "\u2581")
    spaces = decoders.Replace("\u2581", " ")
    made.decoder = decoders.Sequence([spaces, decoders.ByteFallback(), decoders.Fuse()])
    made.add_special_tokens([AddedToken(name, normalized=False) for name in special])
    return made


def tokenizer_metadata(tokenizer: Tokenizer, special: tuple[str, ...]) -> dict[str, Any]:
    """Return what Gemma4Model.set_vocab writes of it."""
    vocab = tokenizer.get_vocab()
    tokens = sorted(vocab, key=vocab.__getitem__)
    kinds = []
    for token in tokens:
        kind = TokenType.CONTROL if token in special else TokenType.NORMAL
        kinds.append(int(TokenType.BYTE if token.startswith("<0x") else kind))
    merges = json.loads(tokenizer.to_str())["model"]["merges"]
    return {
        "ggml.model": "gemma4",
        "ggml.tokens": tokens,
        "ggml.scores": [-1000.0] * len(tokens),
        "ggml.token_type": kinds,
        "ggml.merges": [" ".join(pair) for pair in merges],
        "ggml.bos_token_id": vocab["<bos>"],
        "ggml.eos_token_id": vocab["<turn|>"],
        "ggml.add_space_prefix": False,
        "ggml.add_bos_token": True,
    }


def text_metadata(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what Gemma4Model.set_gguf_parameters writes of a config."""
    layers, shared = config["num_hidden_layers"], config["num_kv_shared_layers"]
    sliding = [kind == SLIDING for kind in config["layer_types"]]
    full, rope = config["global_head_dim"], config["rope_parameters"]
    found = {
        "block_count": layers,
        "context_length": config["max_position_embeddings"],
        "embedding_length": config["hidden_size"],
        "feed_forward_length": config["intermediate_size"],
        "attention.head_count": config["num_attention_heads"],
        "attention.head_count_kv": config["num_key_value_heads"],
        "rope.freq_base": float(rope[FULL]["rope_theta"]),
        "rope.freq_base_swa": float(rope[SLIDING]["rope_theta"]),
        "attention.layer_norm_rms_epsilon": float(config["rms_norm_eps"]),
        "final_logit_softcapping": float(config["final_logit_softcapping"]),
        "attention.sliding_window": config["sliding_window"],
        "attention.shared_kv_layers": shared,
        "embedding_length_per_layer_input": config["hidden_size_per_layer_input"],
        "attention.sliding_window_pattern": sliding,
        "attention.key_length": full,
        "attention.value_length": full,
        "attention.key_length_swa": config["head_dim"],
        "attention.value_length_swa": config["head_dim"],
        "rope.dimension_count": full,
        "rope.dimension_count_swa": config["head_dim"],
    }
    if config["use_double_wide_mlp"]:
        width = config["intermediate_size"]
        found["feed_forward_length"] = [width] * (layers - shared) + [2 * width] * shared
    if heads := config["num_global_key_value_heads"]:
        own = config["num_key_value_heads"]
        found["attention.head_count_kv"] = [own if each else heads for each in sliding]
    if config.get("num_experts"):
        found["expert_count"] = config["num_experts"]
        found["expert_used_count"] = config["top_k_experts"]
        found["expert_feed_forward_length"] = config["moe_intermediate_size"]
    return {f"{GEMMA4}.{key}": value for key, value in found.items()}


def divisors(config: Mapping[str, Any]) -> np.ndarray:
    """Return rope_freqs.weight, as Gemma4Model.generate_extra_tensors has it."""
    pairs = config["global_head_dim"] // 2
    part = config["rope_parameters"][FULL]["partial_rotary_factor"]
    turned = int(config["global_head_dim"] * part / 2)
    return np.array([1.0] * turned + [1e30] * (pairs - turned), np.float32)


def write_text(
    state: Mapping[str, torch.Tensor],
    config: Mapping[str, Any],
    file: Path,
    kinds: Callable[[str], str] = lambda name: "f32",
    change: Change | None = None,
    **tokenizer: Any,
) -> dict[str, torch.Tensor]:
    """Write a decoder; return the weights that the file stands for, by their names in `state`.

    `kinds` gives the type of each matrix by its name in the file, `change` may edit the metadata
    and the tensors, and `tokenizer` are keys below tokenizer.
    """
    metadata = text_metadata(config) | {"general.file_type": 0}
    metadata |= {f"tokenizer.{key}": value for key, value in tokenizer.items()}
    named = text_tensors(state, config["num_hidden_layers"])
    tensors = {name: value for name, (_, value) in named.items()}
    tensors["rope_freqs.weight"] = divisors(config)
    if change:
        change(metadata, tensors)
    meant = write(file, GEMMA4, metadata, tensors, kinds)
    return {named[name][0]: value for name, value in meant.items() if name in named}


def write(
    file: Path,
    architecture: str,
    metadata: Mapping[str, Any],
    tensors: Mapping[str, np.ndarray],
    kinds: Callable[[str], str],
) -> dict[str, torch.Tensor]:
    """Write a GGUF file, and return what its tensors stand for."""
    rng, writer, meant = np.random.default_rng(7), GGUFWriter(file, architecture), {}
    for key, value in metadata.items():
        add_value(writer, key, value)
    for name, value in tensors.items():
        raw, kind, stands_for = packed(value, kinds(name), rng)
        writer.add_tensor(name, raw, raw_dtype=kind)
        meant[name] = torch.tensor(stands_for)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return meant


def mmproj_tensors(state: Mapping[str, torch.Tensor]) -> dict[str, tuple[str, np.ndarray]]:
    """Return the tensors of both towers as Gemma4VisionAudioModel.modify_tensors writes them."""
    found = {}
    for name, value in state.items():
        array = np.atleast_1d(value.float().numpy())
        if "audio" in name:
            theirs = name.replace("model.audio_tower.", "conformer.").replace(".linear.", ".")
            if name.endswith("per_dim_scale"):
                theirs += ".weight"
                array = torch.nn.functional.softplus(value).numpy()
            if name.endswith("depthwise_conv1d.weight"):
                array = array.reshape(array.shape[0], array.shape[2])
        else:
            theirs = name.replace("model.vision_tower.encoder.", "vision_model.model.")
            theirs = theirs.replace(".linear.weight", ".weight")
            if name.endswith("position_embedding_table"):
                theirs += ".weight"
            if name.endswith("patch_embedder.input_proj.weight"):
                side = int((array.shape[1] // 3) ** 0.5)
                array = array.reshape(len(array), side, side, 3).transpose(0, 3, 1, 2).copy()
        theirs = their_name(theirs, MODEL_ARCH.MMPROJ, 4)
        if theirs in ("v.std_bias.weight", "v.std_scale.weight"):
            theirs = theirs.removesuffix(".weight")
        found[theirs] = (name, array)
    return found


def mmproj_metadata(configs: Mapping[str, Any], width: int) -> dict[str, Any]:
    """Return what MmprojModel and Gemma4VisionAudioModel write; `width` is the decoder's."""
    found: dict[str, Any] = {"general.type": "mmproj", "general.file_type": 0}
    if vision := configs.get("vision_config"):
        found |= {
            "clip.has_vision_encoder": True,
            "clip.vision.projection_dim": width,
            "clip.vision.image_size": 224,
            "clip.vision.patch_size": vision["patch_size"],
            "clip.vision.embedding_length": vision["hidden_size"],
            "clip.vision.feed_forward_length": vision["intermediate_size"],
            "clip.vision.block_count": vision["num_hidden_layers"],
            "clip.vision.attention.head_count": vision["num_attention_heads"],
            "clip.vision.image_mean": [0.0, 0.0, 0.0],
            "clip.vision.image_std": [1.0, 1.0, 1.0],
            "clip.vision.projector_type": "gemma4v",
            "clip.vision.attention.layer_norm_epsilon": 1e-6,
        }
    if audio := configs.get("audio_config"):
        found |= {
            "clip.has_audio_encoder": True,
            "clip.audio.projection_dim": width,
            "clip.audio.embedding_length": audio["hidden_size"],
            "clip.audio.feed_forward_length": 4 * audio["hidden_size"],
            "clip.audio.block_count": audio["num_hidden_layers"],
            "clip.audio.attention.head_count": audio["num_attention_heads"],
            "clip.audio.projector_type": "gemma4a",
            "clip.audio.num_mel_bins": 128,
            "clip.audio.attention.layer_norm_epsilon": 1e-5,
        }
    return found


def write_mmproj(
    state: Mapping[str, torch.Tensor],
    configs: Mapping[str, Any],
    width: int,
    file: Path,
    kinds: Callable[[str], str] = lambda name: "f32",
    change: Change | None = None,
) -> dict[str, torch.Tensor]:
    """Write both towers; return the weights that the file stands for, by their names in `state`.

    Convolutions and the table of positions stay float32, as the converter has it.
    """
    metadata, named = mmproj_metadata(configs, width), mmproj_tensors(state)
    tensors = {name: value for name, (_, value) in named.items()}
    if change:
        change(metadata, tensors)

    def kind(name: str) -> str:
        convolves = "conv" in name and "_pw" not in name
        return "f32" if convolves or "position_embd" in name else kinds(name)

    meant = write(file, "clip", metadata, tensors, kind)
    found = {}
    for name, value in meant.items():
        if name in named and name not in CHANGED and "per_dim_scale" not in name:
            found[named[name][0]] = value.reshape(state[named[name][0]].shape)
    return found


CHANGED = ("v.patch_embd.weight",)  # written in another order, as float32


def write_qwen3_asr(
    model: Any, tokenizer: Tokenizer, folder: Path, kinds: Callable[[str], str]
) -> None:
    """Write Qwen3-ASR as two files, and give the model the weights that they stand for.

    As Qwen3ASRTextModel and Qwen3ASRMmprojModel write it: the decoder is of the architecture of
    Qwen3-VL, without its pictures.
    """
    config, tensors, parts = model.config, {"text": {}, "audio": {}}, {}
    for name, value in model.state_dict().items():
        known = released_name(name).removeprefix("thinker.")
        if known == "lm_head.weight":
            continue
        is_audio = known.startswith("audio_tower.")
        arch = MODEL_ARCH.MMPROJ if is_audio else MODEL_ARCH.QWEN3VL
        theirs, array = their_name(known, arch, 4), value.float().numpy()
        if "conv2d" in known and known.endswith(".bias"):
            array = array[:, None, None]
        tensors["audio" if is_audio else "text"][theirs] = array
        parts[theirs] = name
    tensors["audio"]["a.position_embd.weight"] = np.zeros((1500, 64), np.float32)
    text, audio = config.text_config, config.audio_config
    metadata = {
        "block_count": text.num_hidden_layers,
        "context_length": text.max_position_embeddings,
        "embedding_length": text.hidden_size,
        "feed_forward_length": text.intermediate_size,
        "attention.head_count": text.num_attention_heads,
        "attention.head_count_kv": text.num_key_value_heads,
        "attention.key_length": text.head_dim,
        "attention.value_length": text.head_dim,
        "attention.layer_norm_rms_epsilon": float(text.rms_norm_eps),
        "rope.freq_base": 1e6,
        "rope.dimension_sections": [24, 20, 20, 0],
        "n_deepstack_layers": 0,
    }
    metadata = {f"qwen3vl.{key}": value for key, value in metadata.items()}
    metadata |= byte_level_keys(tokenizer, text.vocab_size)
    speech = {
        "general.type": "mmproj",
        "clip.has_audio_encoder": True,
        "clip.audio.projection_dim": text.hidden_size,
        "clip.audio.embedding_length": audio.d_model,
        "clip.audio.feed_forward_length": audio.encoder_ffn_dim,
        "clip.audio.block_count": audio.encoder_layers,
        "clip.audio.attention.head_count": audio.encoder_attention_heads,
        "clip.audio.num_mel_bins": audio.num_mel_bins,
        "clip.audio.attention.layer_norm_epsilon": 1e-5,
        "clip.audio.projector_type": "qwen3a",
    }
    meant = write(folder / "Qwen3-ASR-Q8_0.gguf", "qwen3vl", metadata, tensors["text"], kinds)
    meant |= write(folder / "mmproj-Qwen3-ASR-Q8_0.gguf", "clip", speech, tensors["audio"], kinds)
    own = {parts[name]: value for name, value in meant.items() if name in parts}
    shapes = model.state_dict()
    model.load_state_dict({n: v.reshape(shapes[n].shape) for n, v in own.items()}, strict=False)


def byte_level_keys(tokenizer: Tokenizer, rows: int) -> dict[str, Any]:
    """Return what TextModel writes of a byte-level tokenizer: rows without a token are padding."""
    vocab, content = tokenizer.get_vocab(), json.loads(tokenizer.to_str())
    special = {each["content"]: each["special"] for each in content["added_tokens"]}
    tokens = sorted(vocab, key=vocab.__getitem__)
    kinds = {True: TokenType.CONTROL, False: TokenType.USER_DEFINED, None: TokenType.NORMAL}
    types = [int(kinds[special.get(token)]) for token in tokens]
    more = rows - len(tokens)
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "qwen2",
        "tokenizer.ggml.tokens": tokens + [f"[PAD{len(tokens) + n}]" for n in range(more)],
        "tokenizer.ggml.token_type": types + [int(TokenType.UNUSED)] * more,
        "tokenizer.ggml.merges": [" ".join(pair) for pair in content["model"]["merges"]],
        "tokenizer.ggml.eos_token_id": vocab["<|im_end|>"],
        "tokenizer.ggml.bos_token_id": vocab["<|im_end|>"],
    }
