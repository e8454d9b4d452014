"""Write small models with random weights, each once as composer and once as its peers read it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.weights import SMALL, Sizes, write_decoder, write_tokenizer

REAL = Sizes(0, 0, 28, 1024, 3072, 16, 8, 128, 151_936, None)
WIDTH, LAYERS, ROWS = 256, 4, 1024
SLIDING, FULL = "sliding_attention", "full_attention"
CONTINUE = """\
composer: 1
name: {name}
sources: {{repo: ./}}
components:
  decoder: {{use: {use}, weights: repo/weights, files: repo/tokenizer}}
inputs: {{ids: ids}}
graph:
  words:  {{run: decoder.embed,    with: {{ids: $ids}}}}
{more}  answer: {{run: decoder.generate, with: {{embeds: $words, {side}max_tokens: 64}}}}
outputs: {{ids: $answer.ids}}
"""
PER_LAYER = "  side:   {run: decoder.per_layer, with: {ids: $ids}}\n"


@dataclass(frozen=True)
class Model:
    """Where a model is for composer and for the peers, and the ids that end its answers."""

    bundle: Path
    task: str
    checkpoint: Path
    ends: tuple[int, ...]
    original: Path | None = None


def qwen3(folder: Path, sizes: Sizes = SMALL) -> Model:
    """Write a text decoder of Qwen3 in float32."""
    write_decoder(folder / "weights", sizes)
    write_tokenizer(folder / "tokenizer", sizes.vocabulary)
    manifest = CONTINUE.format(name="qwen3", use="mlx.lm", more="", side="")
    (folder / "bundle.yaml").write_text(manifest)
    _add_tokenizer(folder)
    return Model(folder, "default", folder / "weights", (sizes.vocabulary - 1,))


def gemma4(folder: Path) -> Model:
    """Write a text decoder of Gemma-4 in float32, with the image tower that mlx-vlm wants."""
    import torch
    import transformers

    torch.manual_seed(0)
    text = {
        "vocab_size": ROWS,
        "vocab_size_per_layer_input": ROWS,
        "hidden_size": WIDTH,
        "intermediate_size": 3 * WIDTH,
        "num_hidden_layers": 6,
        "num_attention_heads": 4,
        "num_key_value_heads": 1,
        "head_dim": 64,
        "global_head_dim": 128,
        "sliding_window": 64,
        "num_kv_shared_layers": 2,
        "use_double_wide_mlp": True,
        "hidden_size_per_layer_input": 32,
        "final_logit_softcapping": 30.0,
        "initializer_range": 0.1,
        "layer_types": [SLIDING, SLIDING, FULL] * 2,
        "eos_token_id": 1,
    }
    vision = {
        "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1,
        "num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 16, "global_head_dim": 16,
        "position_embedding_size": 64,
    }  # fmt: skip
    config = transformers.Gemma4Config(
        text_config=text, vision_config=vision, audio_config=None, eos_token_id=1,
        image_token_id=ROWS - 2, video_token_id=ROWS - 3, audio_token_id=ROWS - 4,
    )  # fmt: skip
    model = transformers.Gemma4ForConditionalGeneration(config).eval()
    language = model.model.language_model
    with torch.no_grad():
        for name, value in [*language.named_parameters(), *language.named_buffers()]:
            if "norm" in name or name.endswith("layer_scalar"):
                value.normal_(1.0, 0.2)
        language.embed_tokens.weight *= 0.2  # or each token would be followed by itself
        language.norm.weight *= 5
    model.save_pretrained(folder / "weights")
    # What transformers leaves out, mlx-lm and mlx-vlm take for the published model's.
    path = folder / "weights/config.json"
    written = json.loads(path.read_text())
    written |= {"vocab_size": ROWS, "hidden_size": WIDTH}
    written["text_config"] |= {"global_head_dim": 128, "num_global_key_value_heads": None}
    path.write_text(json.dumps(written))
    write_tokenizer(folder / "tokenizer", ROWS)
    (folder / "bundle.yaml").write_text(
        CONTINUE.format(name="gemma4", use="mlx.gemma4", more=PER_LAYER, side="per_layer: $side, ")
    )
    _add_tokenizer(folder)
    return Model(folder, "default", folder / "weights", (1,))


def qwen3_asr(folder: Path) -> Model:
    """Write Qwen3-ASR in float32: as transformers' checkpoint, as a bundle and as released."""
    import shutil

    import torch
    import transformers

    from converters.qwen3_asr import convert
    from tests.reference.qwen3_asr import BUNDLE, make_tokenizer

    tokenizer = make_tokenizer()
    ends = tokenizer.convert_tokens_to_ids(["<|im_end|>", "<|endoftext|>"])
    audio = {**SMALL.audio_config, "encoder_layers": LAYERS}
    text = {
        "hidden_size": WIDTH,
        "intermediate_size": 3 * WIDTH,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 64,
        "vocab_size": 384,
        "max_position_embeddings": 4096,
        "rms_norm_eps": 1e-6,
        "tie_word_embeddings": True,
        "rope_theta": 1e6,
    }
    slot = tokenizer.convert_tokens_to_ids("<|audio_pad|>")
    config = transformers.Qwen3ASRConfig(
        audio_config=audio, text_config=text, audio_token_id=slot, pad_token_id=ends[0],
        eos_token_id=ends,
    )  # fmt: skip
    torch.manual_seed(11)
    model = transformers.Qwen3ASRForConditionalGeneration(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            drawn = torch.randn_like(parameter)
            if parameter.ndim > 1:
                spread = 0.3 if "embed_tokens" in name else 1.5 * parameter[0].numel() ** -0.5
                parameter.copy_(spread * drawn)
            else:
                parameter.add_(0.1 * drawn + ("q_norm" in name or "k_norm" in name))
    checkpoint = folder / "checkpoint"
    model.save_pretrained(checkpoint)
    tokenizer.save_pretrained(checkpoint)
    convert(checkpoint, folder / "converted", "float32")
    shutil.copy(BUNDLE, folder / "bundle.yaml")
    original = folder / "original"
    _as_released(model.state_dict(), audio, text, slot, original)
    tokenizer.save_pretrained(original)
    transformers.WhisperFeatureExtractor(feature_size=128).save_pretrained(original)
    return Model(folder, "transcribe", checkpoint, tuple(ends), original)


def _as_released(
    state: dict[str, Any], audio: dict[str, Any], text: dict[str, Any], slot: int, folder: Path
) -> None:
    """Write weights and config under the names that Qwen3-ASR was released with."""
    from safetensors.torch import save_file

    names = (
        ("model.language_model.", "thinker.model."),
        ("model.audio_tower.", "thinker.audio_tower."),
        ("model.multi_modal_projector.linear_", "thinker.audio_tower.proj"),
    )
    renamed = {}
    for name, tensor in state.items():
        for old, new in names:
            if name.startswith(old):
                renamed[name.replace(old, new, 1)] = tensor.contiguous().clone()
    folder.mkdir()
    save_file(renamed, folder / "model.safetensors", metadata={"format": "pt"})
    thinker = {"audio_config": audio, "text_config": text, "audio_token_id": slot}
    config = {
        "model_type": "qwen3_asr",
        "thinker_config": thinker,
        "support_languages": ["English"],
    }
    (folder / "config.json").write_text(json.dumps(config))


def clip(folder: Path, seconds: float) -> Path:
    """Write a clip of a changing tone and noise at 16 kHz, as NumPy's file."""
    time = np.arange(round(16_000 * seconds)) / 16_000
    tone = np.sin(2 * np.pi * time * (180 + 60 * np.sin(2.2 * time)))
    noise = np.random.default_rng(0).standard_normal(len(time))
    made = (0.1 + 0.3 * np.sin(1.7 * time) ** 2) * tone + 0.02 * noise
    path = folder / f"clip-{seconds:g}.npy"
    np.save(path, made.astype(np.float32))
    return path


def _add_tokenizer(folder: Path) -> None:
    """Lay the tokenizer beside the weights, where onnxruntime-genai's builder looks for it."""
    tokenizer = (folder / "tokenizer/tokenizer.json").read_bytes()
    (folder / "weights/tokenizer.json").write_bytes(tokenizer)
    named = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|im_end|>"}
    (folder / "weights/tokenizer_config.json").write_text(json.dumps(named))
