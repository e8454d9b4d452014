"""Convert a Qwen3-ASR checkpoint: the encoder to ONNX, the language model to MLX."""

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import Tensor

from converters.mlx_decoder import DTYPES, Mix, Precision, convert_decoder
from converters.onnx_encoder import convert_encoder

__all__ = ["Mix", "convert", "convert_decoder", "convert_encoder", "read_config", "read_weights"]

ENCODER = "onnx/audio_encoder_fp32.onnx"
TOKENIZER = (
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
    "merges.txt",
    "added_tokens.json",
    "special_tokens_map.json",
    "chat_template.json",
    "chat_template.jinja",
)


def read_weights(folder: Path) -> dict[str, Tensor]:
    """Read the tensors of a checkpoint folder, in one file or in shards."""
    index = folder / "model.safetensors.index.json"
    shards = {"model.safetensors"}
    if index.exists():
        shards = set(json.loads(index.read_text())["weight_map"].values())
    state: dict[str, Tensor] = {}
    for shard in sorted(shards):
        state.update(load_file(folder / shard))
    return state


def read_config(folder: Path) -> tuple[dict[str, Any], dict[str, Any], tuple[int, ...]]:
    """Read `audio_config`, `text_config` and the end-of-text ids."""
    config = json.loads((folder / "config.json").read_text())
    nested = config.get("thinker_config", config)
    text = nested["text_config"]
    if text.get("rope_theta") is None and "rope_parameters" not in text:
        text = {**text, "rope_theta": nested.get("rope_theta")}
    generation = folder / "generation_config.json"
    eos = json.loads(generation.read_text()).get("eos_token_id") if generation.exists() else None
    eos = eos if eos is not None else config.get("eos_token_id", [151645, 151643])
    return nested["audio_config"], text, tuple(eos) if isinstance(eos, list) else (eos,)


def folder_name(precision: Precision) -> str:
    """Return the folder name of a language model by its precision."""
    if isinstance(precision, Mix):
        return f"mlx/llm-mixed{precision.attention_bits}_{precision.mlp_bits}"
    return f"mlx/llm-{precision}"


def convert(checkpoint: Path, out: Path, precision: Precision) -> Path:
    """Write a checkpoint folder as encoder, language model and tokenizer below `out`."""
    audio_config, text_config, eos = read_config(checkpoint)
    state = read_weights(checkpoint)
    convert_encoder(state, audio_config, out / ENCODER)
    convert_decoder(state, text_config, out / folder_name(precision), precision, eos)
    (out / "tokenizer").mkdir(parents=True, exist_ok=True)
    for name in TOKENIZER:
        if (checkpoint / name).exists():
            shutil.copy(checkpoint / name, out / "tokenizer" / name)
    return out


def main() -> None:
    """Convert from the command line."""
    parser = argparse.ArgumentParser(prog="python -m converters.qwen3_asr", description=__doc__)
    parser.add_argument("checkpoint", type=Path, help="folder with config.json and safetensors")
    parser.add_argument("out", type=Path, help="folder to write")
    parser.add_argument("--dtype", choices=sorted(DTYPES), help="no quantization")
    parser.add_argument("--attention-bits", type=int, default=8)
    parser.add_argument("--mlp-bits", type=int, default=4)
    parser.add_argument("--group-size", type=int, default=64)
    arguments = parser.parse_args()
    mix = Mix(arguments.attention_bits, arguments.mlp_bits, arguments.group_size)
    convert(arguments.checkpoint, arguments.out, arguments.dtype or mix)


if __name__ == "__main__":
    main()
