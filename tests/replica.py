"""Folders in the layouts and real shapes of published bundles, whose weights are holes in files."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

ITEM = {"F32": 4, "F16": 2, "BF16": 2, "U32": 4}
SPECIALS = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|audio_start|>", "<|audio_end|>",
    "<|audio_pad|>",
)  # fmt: skip

Shapes = Mapping[str, tuple[str, tuple[int, ...]]]


def safetensors(path: Path, shapes: Shapes) -> None:
    """Write a header for tensors that take no room on the disk."""
    header, offset = {}, 0
    for name, (dtype, shape) in shapes.items():
        end = offset + prod(shape) * ITEM[dtype]
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + offset)


def tokenizer(folder: Path, specials: tuple[str, ...] = SPECIALS) -> None:
    """Write a byte-level tokenizer with the special tokens of Qwen3-ASR."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {character: index for index, character in enumerate(alphabet)}
    made = Tokenizer(models.BPE(vocab, []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens([AddedToken(each, special=True) for each in specials])
    made.add_tokens([AddedToken("<asr_text>", special=False, normalized=False)])
    folder.mkdir(parents=True, exist_ok=True)
    made.save(str(folder / "tokenizer.json"))


def split_tokenizer(folder: Path) -> None:
    """Replace tokenizer.json by vocab.json, merges.txt and the added tokens of the config."""
    whole = json.loads((folder / "tokenizer.json").read_text())
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.json").write_text(json.dumps(whole["model"]["vocab"]))
    lines = [" ".join(pair) for pair in whole["model"]["merges"]]
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(lines) + "\n")
    added = {str(token.pop("id")): token for token in whole["added_tokens"]}
    config = {"tokenizer_class": "Qwen2Tokenizer", "added_tokens_decoder": added}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))


def packed(rows: int, columns: int, bits: int, name: str) -> Shapes:
    """Shape a quantized matrix of group size 64."""
    return {
        f"{name}.weight": ("U32", (rows, columns * bits // 32)),
        f"{name}.scales": ("BF16", (rows, columns // 64)),
        f"{name}.biases": ("BF16", (rows, columns // 64)),
    }


def qwen3(
    folder: Path, *, width: int = 2048, layers: int = 28, attention: int = 8, inner: int = 6144
) -> None:
    """Write Qwen3-1.7B with quantized attention and 4-bit MLP, as published."""
    shapes: dict[str, tuple[str, tuple[int, ...]]] = {}
    bits: dict[str, object] = {"group_size": 64, "bits": 4, "mode": "affine"}
    shapes["model.embed_tokens.weight"] = ("BF16", (151936, width))
    shapes["model.norm.weight"] = ("BF16", (width,))
    for layer in range(layers):
        at = f"model.layers.{layer}."
        for norm in ("input_layernorm", "post_attention_layernorm"):
            shapes[f"{at}{norm}.weight"] = ("BF16", (width,))
        for norm in ("q_norm", "k_norm"):
            shapes[f"{at}self_attn.{norm}.weight"] = ("BF16", (128,))
        matrices = {
            "self_attn.q_proj": (2048, width, attention),
            "self_attn.k_proj": (1024, width, attention),
            "self_attn.v_proj": (1024, width, attention),
            "self_attn.o_proj": (width, 2048, attention),
            "mlp.gate_proj": (inner, width, 4),
            "mlp.up_proj": (inner, width, 4),
            "mlp.down_proj": (width, inner, 4),
        }
        for name, (rows, columns, many) in matrices.items():
            shapes |= packed(rows, columns, many, at + name)
            bits[at + name] = {"group_size": 64, "bits": many}
    safetensors(folder / "model.safetensors", shapes)
    config = {
        "model_type": "qwen3", "hidden_size": width, "num_hidden_layers": layers,
        "intermediate_size": inner, "num_attention_heads": 16, "num_key_value_heads": 8,
        "head_dim": 128, "rms_norm_eps": 1e-6, "vocab_size": 151936, "rope_theta": 1e6,
        "max_position_embeddings": 65536, "tie_word_embeddings": True,
        "eos_token_id": [258, 256], "quantization": bits,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    tokenizer(folder)


def encoder(
    path: Path, *, mels: int = 128, width: int = 2048, name: str = "input_features"
) -> None:
    """Write an ONNX graph with the ports of the published encoder and no work inside."""
    import onnx
    from onnx import TensorProto, helper

    flow = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Identity", [name], ["audio_embeds"])],
        "encoder",
        [flow(name, TensorProto.FLOAT, [1, mels, "n_frames"])],
        [flow("audio_embeds", TensorProto.FLOAT, [1, "n_rows", width])],
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), path)


def mega_asr(folder: Path) -> Path:
    """Write the layout of Reza2kn/mega-asr-mlx."""
    encoder(folder / "onnx" / "audio_encoder_fp32.onnx")
    qwen3(folder / "mlx" / "llm-mixed8_4")
    qwen3(folder / "mlx" / "llm-dwq4", attention=4)
    tokenizer(folder / "tokenizer")
    return folder


def meralion(folder: Path) -> None:
    """Write MERaLiON-3's encoder and adaptor as the MLX port lays them out."""
    wide = {
        "self_attn_layer_norm": (), "self_attn.q_proj": (1280,), "self_attn.k_proj": (1280,),
        "self_attn.v_proj": (1280,), "self_attn.out_proj": (1280,), "final_layer_norm": (),
        "fc2": (5120,),
    }  # fmt: skip
    shapes = {
        "conv1.weight": (1280, 3, 128), "conv1.bias": (1280,), "conv2.weight": (1280, 3, 1280),
        "conv2.bias": (1280,), "embed_positions": (1500, 1280), "layer_norm.weight": (1280,),
        "layer_norm.bias": (1280,),
    }  # fmt: skip
    for layer in range(32):
        at = f"layers.{layer}."
        shapes |= {f"{at}fc1.weight": (5120, 1280), f"{at}fc1.bias": (5120,)}
        for name, columns in wide.items():
            shapes[f"{at}{name}.weight"] = (1280, *columns)
            shapes[f"{at}{name}.bias"] = (1280,)
        del shapes[f"{at}self_attn.k_proj.bias"]
    half = {name: ("F16", shape) for name, shape in shapes.items()}
    safetensors(folder / "encoder.safetensors", half)
    shapes = {"ln_speech.weight": (1280,), "ln_speech.bias": (1280,)}
    for name, rows, columns in (
        ("mlp_adapter.layers.0", 6400, 19200), ("gate_proj", 6400, 6400),
        ("pool_proj", 6400, 6400), ("out_proj", 3584, 6400),
    ):  # fmt: skip
        shapes |= {f"{name}.weight": (rows, columns), f"{name}.bias": (rows,)}
    half = {name: ("F16", shape) for name, shape in shapes.items()}
    safetensors(folder / "adaptor.safetensors", half)
    config = {"d_model": 1280, "encoder_layers": 32, "encoder_attention_heads": 20}
    (folder / "encoder_config.json").write_text(json.dumps(config))
    config = {"speech_hidden_size": 1280, "text_hidden_size": 3584, "scale_factor": 15}
    (folder / "adaptor_config.json").write_text(json.dumps(config))


FULL, LAYERS = (5, 11, 17, 23, 29, 35, 41), 42


def projections(layer: int) -> dict[str, tuple[int, int]]:
    """Return the rows and columns of Gemma-4-E4B's projections."""
    queries, keys = (4096, 1024) if layer in FULL else (2048, 512)
    return {
        "self_attn.q_proj": (queries, 2560), "self_attn.k_proj": (keys, 2560),
        "self_attn.v_proj": (keys, 2560), "self_attn.o_proj": (2560, queries),
        "mlp.gate_proj": (10240, 2560), "mlp.up_proj": (10240, 2560),
        "mlp.down_proj": (2560, 10240),
    }  # fmt: skip


def gemma4(folder: Path) -> None:
    """Write Gemma-4-E4B's text decoder, whose last 18 layers share keys and values."""
    safetensors(folder / "model.safetensors", gemma4_shapes())
    (folder / "config.json").write_text(json.dumps(gemma4_config()))


def gemma4_shapes() -> dict[str, tuple[str, tuple[int, ...]]]:
    """Return its tensors."""
    shapes: dict[str, tuple[int, ...]] = {
        "embed_tokens": (262144, 2560), "embed_tokens_per_layer": (262144, 10752),
        "per_layer_model_projection": (10752, 2560), "per_layer_projection_norm": (256,),
        "norm": (2560,),
    }  # fmt: skip
    for layer in range(LAYERS):
        at, own = f"layers.{layer}.", layer < 24
        for name, shape in projections(layer).items():
            if own or name.split(".")[1] not in ("k_proj", "v_proj"):
                shapes[at + name] = shape
        for name in ("q_norm", "k_norm")[: 1 + own]:
            shapes[f"{at}self_attn.{name}"] = (512 if layer in FULL else 256,)
        shapes[f"{at}per_layer_input_gate"] = (256, 2560)
        shapes[f"{at}per_layer_projection"] = (2560, 256)
        for name in ("input", "post_attention", "pre_feedforward", "post_feedforward"):
            shapes[f"{at}{name}_layernorm"] = (2560,)
        shapes[f"{at}post_per_layer_input_norm"] = (2560,)
    at = "language_model.model."
    named = {f"{at}{name}.weight": ("BF16", shape) for name, shape in shapes.items()}
    scalars = {f"{at}layers.{layer}.layer_scalar": ("BF16", (1,)) for layer in range(LAYERS)}
    return named | scalars


def gemma4_config() -> dict[str, Any]:
    """Return its config.json."""
    kinds = ["full" if layer in FULL else "sliding" for layer in range(LAYERS)]
    text = {
        "model_type": "gemma4_text", "hidden_size": 2560, "intermediate_size": 10240,
        "num_hidden_layers": LAYERS, "num_attention_heads": 8, "num_key_value_heads": 2,
        "head_dim": 256, "global_head_dim": 512, "num_kv_shared_layers": 18,
        "use_double_wide_mlp": False, "hidden_size_per_layer_input": 256,
        "vocab_size_per_layer_input": 262144, "vocab_size": 262144, "rms_norm_eps": 1e-6,
        "sliding_window": 512, "layer_types": [f"{kind}_attention" for kind in kinds],
        "final_logit_softcapping": 30.0, "attention_k_eq_v": False, "enable_moe_block": False,
        "max_position_embeddings": 131072, "tie_word_embeddings": True,
        "hidden_activation": "gelu_pytorch_tanh", "use_bidirectional_attention": None,
        "rope_parameters": {
            "full_attention": {
                "rope_type": "proportional", "rope_theta": 1e6, "partial_rotary_factor": 0.25,
            },
            "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
        },
    }  # fmt: skip
    return {"model_type": "gemma4", "text_config": text, "eos_token_id": [1, 106]}


def gemma4_lora(folder: Path, rank: int = 16) -> None:
    """Write an adapter on all projections that there are."""
    shapes: dict[str, tuple[str, tuple[int, ...]]] = {}
    for layer in range(LAYERS):
        for name, (rows, columns) in projections(layer).items():
            if layer >= 24 and name.split(".")[1] in ("k_proj", "v_proj"):
                continue
            at = f"language_model.model.layers.{layer}.{name}"
            shapes |= {f"{at}.lora_a": ("F32", (columns, rank))}
            shapes |= {f"{at}.lora_b": ("F32", (rank, rows))}
    safetensors(folder / "adapters.safetensors", shapes)
    names = [name.rpartition(".")[2] for name in projections(0)]
    config = {"rank": rank, "scale": 20.0, "target_names": names}
    (folder / "lora_config.json").write_text(json.dumps(config))


def elderwise(folder: Path) -> Path:
    """Write the layout of majentik/gemma-4-e4b-mlx-elderwise-MERaLiON, at its real widths."""
    meralion(folder / "speech_encoder")
    safetensors(
        folder / "projector" / "model.safetensors",
        {
            "layers.0.weight": ("F32", (3584,)), "layers.0.bias": ("F32", (3584,)),
            "layers.1.weight": ("F32", (3072, 3584)), "layers.1.bias": ("F32", (3072,)),
            "layers.3.weight": ("F32", (2560, 3072)), "layers.3.bias": ("F32", (2560,)),
            "layers.4.weight": ("F32", (2560,)),
        },
    )  # fmt: skip
    gemma4(folder / "decoder")
    tokenizer(folder / "decoder", ("<bos>", "<|turn>", "<turn|>"))
    gemma4_lora(folder / "lora")
    return folder
