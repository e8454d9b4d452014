"""The speech encoder in torch: Whisper's, with MERaLiON's adaptor of fifteen frames."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.elderwise.mels import MELS, WINDOW

FRAMES_PER_POSITION = 2


@dataclass(frozen=True)
class SpeechConfig:
    """Sizes, under the names of the release's `speech_config`."""

    num_mel_bins: int = MELS
    d_model: int = 144
    encoder_layers: int = 4
    encoder_attention_heads: int = 4
    encoder_ffn_dim: int = 360
    max_source_positions: int = WINDOW // FRAMES_PER_POSITION
    speech_mlp_scale_factor: int = 15
    adaptor_width: int = 240
    text_hidden: int = 224


SPEECH = SpeechConfig()
ROW_SECONDS = SPEECH.speech_mlp_scale_factor * 0.02
ROWS = SPEECH.max_source_positions // SPEECH.speech_mlp_scale_factor


class Attention(nn.Module):
    """Full attention; keys have no bias."""

    def __init__(self, config: SpeechConfig) -> None:
        super().__init__()
        self.heads = config.encoder_attention_heads
        width = config.d_model
        self.q_proj = nn.Linear(width, width)
        self.k_proj = nn.Linear(width, width, bias=False)
        self.v_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map `[B, T, D]` to `[B, T, D]`."""
        batch, length, width = x.shape
        shape = (batch, length, self.heads, width // self.heads)
        q, k, v = (
            each(x).view(shape).transpose(1, 2) for each in (self.q_proj, self.k_proj, self.v_proj)
        )
        # plain products: on a CPU the fused kernel's backward pass is ten times slower
        weights = torch.softmax(q @ k.transpose(2, 3) * shape[3] ** -0.5, dim=-1)
        out: Tensor = self.out_proj((weights @ v).transpose(1, 2).reshape(x.shape))
        return out


class Layer(nn.Module):
    """One pre-norm layer."""

    def __init__(self, config: SpeechConfig) -> None:
        super().__init__()
        self.self_attn = Attention(config)
        self.self_attn_layer_norm = nn.LayerNorm(config.d_model)
        self.fc1 = nn.Linear(config.d_model, config.encoder_ffn_dim)
        self.fc2 = nn.Linear(config.encoder_ffn_dim, config.d_model)
        self.final_layer_norm = nn.LayerNorm(config.d_model)

    def forward(self, x: Tensor) -> Tensor:
        """Map `[B, T, D]` to `[B, T, D]`."""
        x = x + self.self_attn(self.self_attn_layer_norm(x))
        out: Tensor = x + self.fc2(functional.gelu(self.fc1(self.final_layer_norm(x))))
        return out


def sinusoids(length: int, width: int) -> Tensor:
    """Make Whisper's positions `[length, width]`: sines in one half, cosines in the other."""
    rates = torch.exp(-torch.arange(width // 2) * (9.210340371976184 / (width // 2 - 1)))
    angles = torch.arange(length)[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], dim=1)


class WhisperEncoder(nn.Module):
    """Whisper's encoder; a shorter window than the configured one takes the first positions."""

    def __init__(self, config: SpeechConfig) -> None:
        super().__init__()
        width = config.d_model
        self.conv1 = nn.Conv1d(config.num_mel_bins, width, 3, padding=1)
        self.conv2 = nn.Conv1d(width, width, 3, stride=2, padding=1)
        self.embed_positions = nn.Embedding(config.max_source_positions, width)
        self.embed_positions.weight.data = sinusoids(config.max_source_positions, width)
        self.embed_positions.weight.requires_grad_(False)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.encoder_layers))
        self.layer_norm = nn.LayerNorm(width)

    def start(self, mel: Tensor) -> Tensor:
        """Map mel `[B, mels, T]` to positions `[B, T / 2, D]`."""
        x = functional.gelu(self.conv2(functional.gelu(self.conv1(mel)))).transpose(1, 2)
        return x + self.embed_positions.weight[: x.shape[1]]


class Adaptor(nn.Module):
    """MERaLiON's large adaptor: fifteen positions side by side, a gated MLP, one row."""

    def __init__(self, config: SpeechConfig) -> None:
        super().__init__()
        self.factor = config.speech_mlp_scale_factor
        inner = config.adaptor_width
        self.mlp_adapter = nn.Sequential(nn.Linear(self.factor * config.d_model, inner), nn.SiLU())
        self.gate_proj = nn.Linear(inner, inner)
        self.pool_proj = nn.Linear(inner, inner)
        self.out_proj = nn.Linear(inner, config.text_hidden)

    def forward(self, x: Tensor) -> Tensor:
        """Map `[B, T, D]` to `[B, T / 15, text_hidden]`."""
        batch, length, width = x.shape
        x = self.mlp_adapter(x.reshape(batch, length // self.factor, self.factor * width))
        out: Tensor = self.out_proj(functional.silu(self.gate_proj(x)) * self.pool_proj(x))
        return out


class SpeechEncoder(nn.Module):
    """Everything that turns mels into rows, under the names of the released checkpoint."""

    def __init__(self, config: SpeechConfig = SPEECH) -> None:
        super().__init__()
        self.speech_encoder = WhisperEncoder(config)
        self.ln_speech = nn.LayerNorm(config.d_model)
        self.speech_audio_adapter = Adaptor(config)

    def stages(self, mel: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Map `[B, mels, T]` to positions half-way up, positions at the top, and rows."""
        tower = self.speech_encoder
        x = tower.start(mel)
        half = len(tower.layers) // 2
        for layer in tower.layers[:half]:
            x = layer(x)
        middle = x
        for layer in tower.layers[half:]:
            x = layer(x)
        top = self.ln_speech(tower.layer_norm(x))
        return middle, top, self.speech_audio_adapter(top)

    def forward(self, mel: Tensor) -> Tensor:
        """Map `[B, mels, T]` to rows `[B, T / 30, text_hidden]`."""
        return self.stages(mel)[2]
