"""Folders in the layouts and real shapes of published bundles, whose weights are holes in files."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from math import prod
from pathlib import Path

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


def packed(rows: int, columns: int, bits: int, name: str) -> Shapes:
    """Shape a quantized matrix of group size 64."""
    return {
        f"{name}.weight": ("U32", (rows, columns * bits // 32)),
        f"{name}.scales": ("BF16", (rows, columns // 64)),
        f"{name}.biases": ("BF16", (rows, columns // 64)),
    }


def qwen3(folder: Path, *, width: int = 2048, layers: int = 28, attention: int = 8) -> None:
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
            "mlp.gate_proj": (6144, width, 4),
            "mlp.up_proj": (6144, width, 4),
            "mlp.down_proj": (width, 6144, 4),
        }
        for name, (rows, columns, many) in matrices.items():
            shapes |= packed(rows, columns, many, at + name)
            bits[at + name] = {"group_size": 64, "bits": many}
    safetensors(folder / "model.safetensors", shapes)
    config = {
        "model_type": "qwen3", "hidden_size": width, "num_hidden_layers": layers,
        "intermediate_size": 6144, "num_attention_heads": 16, "num_key_value_heads": 8,
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


def elderwise(folder: Path) -> Path:
    """Write the layout of majentik/gemma-4-e4b-mlx-elderwise-MERaLiON, at its real widths."""
    safetensors(
        folder / "speech_encoder" / "model.safetensors",
        {
            "speech_encoder.conv1.weight": ("F16", (1280, 128, 3)),
            "speech_audio_adapter.out_proj.weight": ("F16", (3584, 6400)),
        },
    )
    safetensors(
        folder / "projector" / "model.safetensors",
        {
            "layers.0.weight": ("F32", (3584,)), "layers.0.bias": ("F32", (3584,)),
            "layers.1.weight": ("F32", (3072, 3584)), "layers.1.bias": ("F32", (3072,)),
            "layers.3.weight": ("F32", (2560, 3072)), "layers.3.bias": ("F32", (2560,)),
            "layers.4.weight": ("F32", (2560,)),
        },
    )  # fmt: skip
    at = "language_model.model."
    safetensors(
        folder / "decoder" / "model.safetensors",
        {
            f"{at}embed_tokens.weight": ("BF16", (262144, 2560)),
            f"{at}embed_tokens_per_layer.weight": ("BF16", (262144, 10752)),
            f"{at}per_layer_model_projection.weight": ("BF16", (10752, 2560)),
            f"{at}per_layer_projection_norm.weight": ("BF16", (256,)),
        },
    )
    tokenizer(folder / "decoder", ("<bos>", "<|turn>", "<turn|>"))
    safetensors(folder / "lora" / "adapters.safetensors", {"a": ("F32", (16, 2560))})
    return folder
