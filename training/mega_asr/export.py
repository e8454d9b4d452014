"""Write a trained checkpoint as the files of the bundle."""

import argparse
import shutil
from dataclasses import asdict
from pathlib import Path

import torch

from converters.mlx_decoder import Mix, convert_decoder
from converters.onnx_encoder import convert_encoder
from training import bpe
from training.mega_asr import text
from training.mega_asr.model import AUDIO, TextConfig

ENCODER = "onnx/audio_encoder_fp32.onnx"
DECODER = "mlx/llm-mixed8_4"
TOKENIZER = "tokenizer"


def export(run: Path, bundle: Path) -> None:
    """Convert a training run with the converter that the real models go through."""
    state = torch.load(run / "checkpoint.pt", map_location="cpu")["model"]
    # the phone head served training only
    state = {name: tensor for name, tensor in state.items() if not name.startswith("phones.")}
    ids = bpe.load(run)
    eos = (text.identify(ids, "<|im_end|>"), text.identify(ids, "<|endoftext|>"))
    convert_encoder(state, asdict(AUDIO), bundle / ENCODER)
    convert_decoder(state, asdict(TextConfig()), bundle / DECODER, Mix(8, 4, 64), eos)
    (bundle / TOKENIZER).mkdir(parents=True, exist_ok=True)
    shutil.copy(run / "tokenizer.json", bundle / TOKENIZER / "tokenizer.json")


def main() -> None:
    """Export from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="folder of the tokenizer and the checkpoint")
    parser.add_argument("bundle", type=Path, help="folder to write")
    arguments = parser.parse_args()
    export(arguments.run, arguments.bundle)


if __name__ == "__main__":
    main()
