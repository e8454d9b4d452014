"""Bundles of Qwen3-ASR's shape with random weights, written piece by piece."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

SPECIAL = ("<|im_start|>", "<|im_end|>", "<|audio_start|>", "<|audio_end|>", "<|audio_pad|>")
END = 256 + len(SPECIAL)  # behind a token for each byte, and these
GROUP = 64
BUNDLE = r"""
composer: 1
name: {name}
summary: {summary}
sources: {{repo: ./weights}}
components:
  features: {{use: audio.log_mel, config: {{mels: 128, min_samples: 8000}}}}
  encoder:
    use: onnx.graph
    weights: repo/onnx/audio_encoder_fp32.onnx
    emits: decoder.embed
    config: {{rows: {{chunk: 100, stride: 8}}}}
  decoder: {{use: mlx.lm, weights: repo/mlx, files: repo/tokenizer}}
  prompt:
    use: text.prompt
    files: repo/tokenizer
    config:
      slot: "<|audio_pad|>"
      template: "<|im_start|>user\n<|audio_start|>{{speech}}<|audio_end|><|im_end|>\n"
tasks:
  transcribe:
    inputs: {{audio: audio}}
    graph:
      mel:    {{run: features,         with: {{audio: $audio}}}}
      soft:   {{run: encoder,          with: {{input_features: $mel}}}}
      asked:  {{run: prompt,           with: {{speech: $soft}}}}
      words:  {{run: decoder.embed,    with: {{ids: $asked.ids}}}}
      embeds: {{run: scatter,          with: {{base: $words, at: $asked.slots, values: $soft}}}}
      answer: {{run: decoder.generate, with: {{embeds: $embeds, max_tokens: 64}}}}
    outputs: {{text: $answer.text, ids: $answer.ids}}
  encode:
    inputs: {{mel: {{type: tensor, port: f32 128 F}}}}
    graph:
      soft: {{run: encoder, with: {{input_features: $mel}}}}
    outputs: {{rows: $soft}}
  continue:
    inputs: {{ids: ids}}
    graph:
      words:  {{run: decoder.embed,    with: {{ids: $ids}}}}
      answer: {{run: decoder.generate, with: {{embeds: $words, max_tokens: 64}}}}
    outputs: {{ids: $answer.ids}}
"""


@dataclass(frozen=True)
class Sizes:
    """The widths and depths of encoder and decoder; `bits` of attention and MLP, None for float32.

    A quantized decoder has its embeddings and norms in bfloat16.
    """

    encoder_layers: int
    encoder_width: int
    layers: int
    width: int
    inner: int
    heads: int
    kv_heads: int
    head: int
    vocabulary: int
    bits: tuple[int, int] | None

    @property
    def audio_config(self) -> dict[str, int]:
        """Return the encoder's own config."""
        return {
            "num_mel_bins": 128,
            "encoder_layers": self.encoder_layers,
            "encoder_attention_heads": self.encoder_width // 64,
            "encoder_ffn_dim": 4 * self.encoder_width,
            "d_model": self.encoder_width,
            "output_dim": self.width,
            "n_window": 50,
            "n_window_infer": 800,
            "downsample_hidden_size": 480 if self.encoder_width >= 896 else 64,
        }

    def matrices(self) -> Iterator[tuple[str, int, int, int]]:
        """Yield each projection's name, outputs, inputs and bits."""
        attention, mlp = self.bits or (32, 32)
        wide, narrow = self.heads * self.head, self.kv_heads * self.head
        for layer in range(self.layers):
            at = f"model.layers.{layer}"
            yield f"{at}.self_attn.q_proj", wide, self.width, attention
            yield f"{at}.self_attn.k_proj", narrow, self.width, attention
            yield f"{at}.self_attn.v_proj", narrow, self.width, attention
            yield f"{at}.self_attn.o_proj", self.width, wide, attention
            yield f"{at}.mlp.gate_proj", self.inner, self.width, mlp
            yield f"{at}.mlp.up_proj", self.inner, self.width, mlp
            yield f"{at}.mlp.down_proj", self.width, self.inner, mlp

    def norms(self) -> Iterator[tuple[str, int]]:
        """Yield each norm's name and width."""
        for layer in range(self.layers):
            at = f"model.layers.{layer}"
            yield f"{at}.input_layernorm", self.width
            yield f"{at}.post_attention_layernorm", self.width
            yield f"{at}.self_attn.q_norm", self.head
            yield f"{at}.self_attn.k_norm", self.head
        yield "model.norm", self.width


MEGA = Sizes(24, 1024, 28, 2048, 6144, 16, 8, 128, 151_936, (8, 4))
SMALL = Sizes(6, 256, 4, 256, 768, 4, 2, 64, 1024, None)


def write_bundle(folder: Path, sizes: Sizes, name: str, summary: str) -> Path:
    """Write encoder, decoder, tokenizer and manifest, and return the manifest's path."""
    weights = folder / "weights"
    write_encoder(weights / "onnx/audio_encoder_fp32.onnx", sizes)
    write_decoder(weights / "mlx", sizes)
    write_tokenizer(weights / "tokenizer", sizes.vocabulary)
    manifest = folder / "bundle.yaml"
    manifest.write_text(BUNDLE.lstrip().format(name=name, summary=summary))
    return manifest


def write_encoder(path: Path, sizes: Sizes) -> None:
    """Export an untrained encoder."""
    import torch

    from converters.audio_encoder import AudioEncoder, AudioEncoderConfig
    from converters.onnx_encoder import export

    torch.manual_seed(0)
    export(AudioEncoder(AudioEncoderConfig.of(sizes.audio_config)), path)


def write_tokenizer(folder: Path, vocabulary: int) -> None:
    """Write a byte-level tokenizer of bytes and special tokens."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE({byte: id for id, byte in enumerate(alphabet)}, []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens([AddedToken(name, normalized=False) for name in (*SPECIAL, "<|end|>")])
    folder.mkdir(parents=True)
    made.save(str(folder / "tokenizer.json"))


def write_decoder(folder: Path, sizes: Sizes) -> None:
    """Write an mlx-lm folder, one random tensor at a time."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(decoder_config(sizes), indent=2))
    random = np.random.default_rng(0)
    tensors = list(_tensors(sizes))
    header: dict[str, Any] = {"__metadata__": {"format": "mlx"}}
    end = 0
    for name, dtype, shape in tensors:
        size = prod(shape) * (2 if dtype == "BF16" else 4)
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with (folder / "model.safetensors").open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name, dtype, shape in tensors:
            file.write(_draw(random, name, dtype, shape, sizes))


def decoder_config(sizes: Sizes) -> dict[str, Any]:
    """Return the config that mlx-lm reads."""
    config: dict[str, Any] = {
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3",
        "hidden_size": sizes.width,
        "num_hidden_layers": sizes.layers,
        "intermediate_size": sizes.inner,
        "num_attention_heads": sizes.heads,
        "num_key_value_heads": sizes.kv_heads,
        "head_dim": sizes.head,
        "rms_norm_eps": 1e-6,
        "vocab_size": sizes.vocabulary,
        "max_position_embeddings": 65_536,
        "tie_word_embeddings": True,
        "rope_theta": 1e6,
        "eos_token_id": [END],
    }
    if sizes.bits:
        table = {
            name: {"group_size": GROUP, "bits": bits, "mode": "affine"}
            for name, _, _, bits in sizes.matrices()
        }
        config["quantization"] = {"group_size": GROUP, "bits": 4, "mode": "affine", **table}
    return config


def _tensors(sizes: Sizes) -> Iterator[tuple[str, str, list[int]]]:
    plain = "BF16" if sizes.bits else "F32"
    yield "model.embed_tokens.weight", plain, [sizes.vocabulary, sizes.width]
    for name, outputs, inputs, bits in sizes.matrices():
        if sizes.bits is None:
            yield f"{name}.weight", plain, [outputs, inputs]
            continue
        yield f"{name}.weight", "U32", [outputs, inputs * bits // 32]
        yield f"{name}.scales", plain, [outputs, inputs // GROUP]
        yield f"{name}.biases", plain, [outputs, inputs // GROUP]
    for name, width in sizes.norms():
        yield f"{name}.weight", plain, [width]


def _draw(
    random: np.random.Generator, name: str, dtype: str, shape: list[int], sizes: Sizes
) -> bytes:
    """Return one random tensor whose scale preserves activations."""
    if dtype == "U32":
        return random.bytes(4 * prod(shape))
    if name.endswith(("scales", "biases")):
        # whole numbers 0 to 2^bits - 1 spread by 2^bits / sqrt(12)
        bits = sizes.bits[0] if sizes.bits and "self_attn" in name else (sizes.bits or (4, 4))[1]
        scale = 12**0.5 / 2**bits / (shape[1] * GROUP) ** 0.5
        value = scale if name.endswith("scales") else -scale * (2**bits - 1) / 2
        return _stored(np.full(shape, value, np.float32), dtype)
    if len(shape) == 1:
        return _stored(np.ones(shape, np.float32), dtype)
    random_values = random.standard_normal(shape, np.float32)
    random_values *= shape[1] ** -0.5
    return _stored(random_values, dtype)


def _stored(values: np.ndarray, dtype: str) -> bytes:
    if dtype == "F32":
        return values.tobytes()
    # bfloat16 is the upper half of float32
    return values.view(np.uint32).__rshift__(16).astype(np.uint16).tobytes()
