"""Write a trained aligner as one checkpoint in the layout of the release, as MLX quantizes it."""

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import mlx.core as mx
import torch
from torch import Tensor

from converters.mlx_decoder import to_mlx
from training.aligner import data
from training.aligner.encoder import BITS, GROUP, exported, packed
from training.aligner.model import CLASS_SECONDS, CLASSES, TEXT
from training.bpe import identify
from training.mega_asr.model import AUDIO

TOWER, HEAD = "thinker.audio_tower.", "lm_head.weight"
MLP_BITS = 4


def bits_of(name: str) -> int | None:
    """Return how many bits a matrix of the decoder has; None for what stays float16."""
    if not name.endswith("_proj.weight"):
        return None
    return MLP_BITS if ".mlp." in name else BITS


def quantized(state: dict[str, Tensor]) -> Iterator[tuple[str, mx.array]]:
    """Yield the tensors of the decoder and its head as they are shipped."""
    for name, value in state.items():
        array, bits = to_mlx(value, mx.float16), bits_of(name)
        if bits is None:
            yield f"thinker.{name}", array
            continue
        parts = mx.quantize(array, GROUP, bits)
        for part, each in zip(("weight", "scales", "biases"), parts, strict=True):
            yield f"thinker.{name.removesuffix('weight')}{part}", each


def config(state: dict[str, Tensor], mark: int) -> dict[str, object]:
    """Return the config, with the keys of the release and the bits of each module."""
    quantization: dict[str, object] = {"group_size": GROUP, "bits": BITS, "mode": "affine"}
    for name in state:
        if bits_of(name) == MLP_BITS:
            own = {"group_size": GROUP, "bits": MLP_BITS, "mode": "affine"}
            quantization[f"thinker.{name.removesuffix('.weight')}"] = own
    return {
        "architectures": ["Qwen3ASRForConditionalGeneration"],
        "model_type": "qwen3_asr",
        "quantization": quantization,
        "support_languages": ["English"],
        "thinker_config": {
            "model_type": "qwen3_forced_aligner",
            "audio_config": {**asdict(AUDIO), "model_type": "qwen3_asr_audio_encoder"},
            "classify_num": CLASSES,
            "text_config": {**asdict(TEXT), "model_type": "qwen3", "tie_word_embeddings": False},
        },
        "timestamp_segment_time": round(1000 * CLASS_SECONDS),
        "timestamp_token_id": mark,
    }


def export(run: Path, folder: Path) -> None:
    """Write the weights, the config and the tokenizer."""
    state = torch.load(run / "checkpoint.pt", map_location="cpu")["model"]
    tokenizer = data.tokenizer()
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {f"{TOWER}{name}": array for name, array in packed(exported())}
    tensors |= dict(quantized(state))
    mx.save_safetensors(str(folder / "model.safetensors"), tensors, {"format": "mlx"})
    text = json.dumps(config(state, identify(tokenizer, data.MARK)), indent=1)
    (folder / "config.json").write_text(text + "\n")
    tokenizer.save(str(folder / "tokenizer.json"))


def main() -> None:
    """Export from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="folder of the checkpoint")
    parser.add_argument("folder", type=Path, help="folder to write")
    arguments = parser.parse_args()
    export(arguments.run, arguments.folder)


if __name__ == "__main__":
    main()
