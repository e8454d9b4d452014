"""The audio encoder as an ONNX graph."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from converters import names
from converters.audio_encoder import AudioEncoder, AudioEncoderConfig, sinusoids

OPSET = 17


class OneClip(nn.Module):
    """An encoder for one clip of any length, which returns its valid rows only."""

    def __init__(self, encoder: AudioEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, input_features: Tensor) -> Tensor:
        """Encode log-mel `[1, mels, n]` to `[1, rows(n), output_dim]`."""
        frames = torch.zeros_like(input_features[:, 0, 0], dtype=torch.int64)
        frames = frames + input_features.shape[2]
        rows = self.encoder.config.rows(input_features.shape[2])
        embeds: Tensor = self.encoder(input_features, frames)
        return embeds[0, :rows].unsqueeze(0)  # so that the file says a batch of 1


def load_encoder(state: Mapping[str, Tensor], config: Mapping[str, Any]) -> AudioEncoder:
    """Build the encoder from a complete checkpoint's state dict, in float32, strictly."""
    with torch.device("meta"):
        encoder = AudioEncoder(AudioEncoderConfig.of(config))
    tensors = names.split(state).encoder
    expected = encoder.state_dict()
    names.check_names("encoder", tensors, expected)
    wrong = [name for name in expected if tensors[name].shape != expected[name].shape]
    if wrong:
        first = wrong[0]
        raise ValueError(
            f"encoder {first} has shape {list(tensors[first].shape)}, "
            f"its config says {list(expected[first].shape)}"
        )
    encoder.load_state_dict({k: v.to(torch.float32) for k, v in tensors.items()}, assign=True)
    # the position table is not a weight, so it is still on the meta device
    encoder.positions = sinusoids(encoder.config.chunk_rows, encoder.config.d_model)
    return encoder


def export(encoder: AudioEncoder, out: Path) -> None:
    """Write `input_features [1, mels, n_frames]` -> `audio_embeds [1, n_rows, output_dim]`."""
    out.parent.mkdir(parents=True, exist_ok=True)
    # longer than a window and not a whole number of chunks: every dynamic size differs
    example = torch.zeros(1, encoder.config.num_mel_bins, 2 * encoder.config.n_window_infer + 11)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # the tracer warns of each size that it records
        torch.onnx.export(
            OneClip(encoder).eval(),
            (example,),
            str(out),
            dynamo=False,
            opset_version=OPSET,
            input_names=["input_features"],
            output_names=["audio_embeds"],
            dynamic_axes={"input_features": {2: "n_frames"}, "audio_embeds": {1: "n_rows"}},
        )


def convert_encoder(state: Mapping[str, Tensor], config: Mapping[str, Any], out: Path) -> Path:
    """Write the encoder of a checkpoint as float32 ONNX and return its path."""
    export(load_encoder(state, config), out)
    return out
