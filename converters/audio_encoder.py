"""The windowed audio encoder of Qwen3-ASR, for training and for export."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

MASKED = -1e9  # finite, so that a window of nothing but padding stays free of NaN


@dataclass(frozen=True)
class AudioEncoderConfig:
    """Sizes of an audio encoder, under the names of the checkpoint's `audio_config`."""

    num_mel_bins: int
    encoder_layers: int
    encoder_attention_heads: int
    encoder_ffn_dim: int
    d_model: int
    output_dim: int
    n_window: int
    n_window_infer: int
    downsample_hidden_size: int

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Self:
        """Read the sizes from an `audio_config`; refuse unsupported settings."""
        for name, supported in {"activation_function": "gelu", "scale_embedding": False}.items():
            if config.get(name, supported) != supported:
                raise ValueError(
                    f"audio_config.{name} is {config[name]!r}; only {supported!r} is supported"
                )
        missing = [field.name for field in fields(cls) if field.name not in config]
        if missing:
            raise ValueError(f"audio_config is missing {', '.join(missing)}")
        sizes = cls(**{field.name: int(config[field.name]) for field in fields(cls)})
        if sizes.n_window_infer % sizes.chunk:
            raise ValueError(
                f"n_window {sizes.n_window} and n_window_infer {sizes.n_window_infer} do not "
                "align: "
                "a chunk of 2*n_window frames must divide the window"
            )
        return sizes

    @property
    def chunk(self) -> int:
        """Frames in one chunk of the convolutions."""
        return 2 * self.n_window

    @property
    def chunk_rows(self) -> int:
        """Rows of a complete chunk."""
        return -(-self.chunk // 8)

    @property
    def window_rows(self) -> int:
        """Rows that attend to each other."""
        return self.chunk_rows * (self.n_window_infer // self.chunk)

    def rows(self, frames: Any) -> Any:
        """Count the rows of a clip, as `chunk_rows * (n // chunk) + ceil((n % chunk) / 8)`.

        Works on ints, tensors and traced sizes; every numerator is positive, since the integer
        `Div` of ONNX truncates where Python floors.
        """
        return self.chunk_rows * (frames // self.chunk) + (frames % self.chunk + 7) // 8


def sinusoids(length: int, channels: int) -> Tensor:
    """Make Whisper's position table: sines in the first half of the channels, then cosines."""
    steps = torch.arange(channels // 2, dtype=torch.float32)
    inverse = torch.exp(-math.log(10000.0) / (channels // 2 - 1) * steps)
    angles = torch.arange(length, dtype=torch.float32)[:, None] * inverse
    return torch.cat([angles.sin(), angles.cos()], dim=1)


class AudioAttention(nn.Module):
    """Attend within windows of rows."""

    def __init__(self, config: AudioEncoderConfig) -> None:
        super().__init__()
        self.heads = config.encoder_attention_heads
        self.window_rows = config.window_rows
        self.q_proj = nn.Linear(config.d_model, config.d_model)
        self.k_proj = nn.Linear(config.d_model, config.d_model)
        self.v_proj = nn.Linear(config.d_model, config.d_model)
        self.out_proj = nn.Linear(config.d_model, config.d_model)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        """Map rows `[B, N, D]` with key bias `[B * windows, 1, 1, w]` to `[B, N, D]`."""
        batch, rows, width = x.shape[0], x.shape[1], x.shape[2]
        span = bias.shape[3]
        padded = bias.shape[0] // batch * span

        def split(y: Tensor) -> Tensor:
            y = functional.pad(y, (0, 0, 0, self.window_rows))[:, :padded]
            return y.reshape(-1, span, self.heads, width // self.heads).transpose(1, 2)

        scale = (width // self.heads) ** -0.5
        scores = split(self.q_proj(x) * scale) @ split(self.k_proj(x)).transpose(2, 3)
        mixed = torch.softmax(scores + bias, dim=-1) @ split(self.v_proj(x))
        merged = mixed.transpose(1, 2).reshape(batch, -1, width)[:, :rows]
        out: Tensor = self.out_proj(merged)
        return out


class AudioEncoderLayer(nn.Module):
    """One pre-norm transformer layer."""

    def __init__(self, config: AudioEncoderConfig) -> None:
        super().__init__()
        self.self_attn = AudioAttention(config)
        self.self_attn_layer_norm = nn.LayerNorm(config.d_model)
        self.fc1 = nn.Linear(config.d_model, config.encoder_ffn_dim)
        self.fc2 = nn.Linear(config.encoder_ffn_dim, config.d_model)
        self.final_layer_norm = nn.LayerNorm(config.d_model)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        """Map rows `[B, N, D]` to `[B, N, D]`."""
        x = x + self.self_attn(self.self_attn_layer_norm(x), bias)
        out: Tensor = x + self.fc2(functional.gelu(self.fc1(self.final_layer_norm(x))))
        return out


class AudioEncoder(nn.Module):
    """Turn log-mel frames into embeddings for the language model.

    The state dict has the released checkpoint's own names (below `thinker.audio_tower`).
    """

    positions: Tensor

    def __init__(self, config: AudioEncoderConfig) -> None:
        super().__init__()
        self.config = config
        channels = config.downsample_hidden_size
        self.conv2d1 = nn.Conv2d(1, channels, 3, 2, padding=1)
        self.conv2d2 = nn.Conv2d(channels, channels, 3, 2, padding=1)
        self.conv2d3 = nn.Conv2d(channels, channels, 3, 2, padding=1)
        self.conv_out = nn.Linear(channels * -(-config.num_mel_bins // 8), config.d_model, False)
        self.layers = nn.ModuleList(AudioEncoderLayer(config) for _ in range(config.encoder_layers))
        self.ln_post = nn.LayerNorm(config.d_model)
        self.proj1 = nn.Linear(config.d_model, config.d_model)
        self.proj2 = nn.Linear(config.d_model, config.output_dim)
        table = sinusoids(config.chunk_rows, config.d_model)
        self.register_buffer("positions", table, persistent=False)

    def stem(self, features: Tensor) -> Tensor:
        """Convolve log-mel `[B, mels, T]` chunk by chunk to rows `[B, chunks * chunk_rows, D]`."""
        chunk, batch = self.config.chunk, features.shape[0]
        chunks = (features.shape[2] + chunk - 1) // chunk
        x = functional.pad(features, (0, chunk))[:, :, : chunks * chunk]
        x = x.reshape(batch, self.config.num_mel_bins, -1, chunk).transpose(1, 2).flatten(0, 1)
        x = functional.gelu(self.conv2d1(x[:, None]))
        x = functional.gelu(self.conv2d2(x))
        x = functional.gelu(self.conv2d3(x))
        x = self.conv_out(x.permute(0, 3, 1, 2).flatten(2)) + self.positions
        rows: Tensor = x.reshape(batch, -1, self.config.d_model)
        return rows

    def key_bias(self, valid: Tensor) -> Tensor:
        """Turn the valid rows `[B, N]` into an attention bias `[B * windows, 1, 1, w]`."""
        limit, rows = self.config.window_rows, valid.shape[1]
        # a traced size is a tensor, an eager one an int; a short clip keeps a short window
        span = rows.clamp(max=limit) if isinstance(rows, Tensor) else min(rows, limit)
        padded = (rows + span - 1) // span * span
        bias = functional.pad((~valid).to(torch.float32) * MASKED, (0, limit), value=MASKED)
        return bias[:, :padded].reshape(-1, 1, 1, span)

    def start(self, features: Tensor, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Return the rows `[B, N, D]` and the attention bias for the first layer."""
        x = self.stem(features)
        valid = torch.arange(x.shape[1], device=x.device) < self.config.rows(frames)[:, None]
        return x, self.key_bias(valid)

    def finish(self, x: Tensor) -> Tensor:
        """Map the last layer's output into the language model's embedding space."""
        out: Tensor = self.proj2(functional.gelu(self.proj1(self.ln_post(x))))
        return out

    def forward(self, features: Tensor, frames: Tensor) -> Tensor:
        """Encode log-mel `[B, mels, T]` to `[B, N, output_dim]`.

        `frames` `[B]` is each clip's own length; mel beyond it must be 0.0. Rows beyond
        `config.rows(frames)` are meaningless.
        """
        x, bias = self.start(features, frames)
        for layer in self.layers:
            x = layer(x, bias)
        out: Tensor = self.finish(x)
        return out
