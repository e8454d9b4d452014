"""The speech model in torch: the audio encoder and a small Qwen3."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from converters.audio_encoder import AudioEncoder, AudioEncoderConfig

AUDIO = AudioEncoderConfig(
    num_mel_bins=80,
    encoder_layers=4,
    encoder_attention_heads=4,
    encoder_ffn_dim=384,
    d_model=192,
    output_dim=192,
    n_window=100,
    n_window_infer=800,
    downsample_hidden_size=32,
)
ROW_SECONDS = 0.08
PHONE_SLOTS = 4  # in a row


@dataclass(frozen=True)
class TextConfig:
    """Sizes of the language model, under the names of the checkpoint's `text_config`."""

    hidden_size: int = 192
    intermediate_size: int = 512
    num_hidden_layers: int = 3
    num_attention_heads: int = 4
    num_key_value_heads: int = 2
    head_dim: int = 64
    vocab_size: int = 960
    max_position_embeddings: int = 4096
    rms_norm_eps: float = 1e-6
    rope_theta: float = 10000.0
    tie_word_embeddings: bool = True


def rotate(x: Tensor, theta: float) -> Tensor:
    """Apply rotary positions to `[B, H, T, hd]`, halves paired as Qwen3 pairs them."""
    half = x.shape[3] // 2
    inverse = theta ** (-torch.arange(half, dtype=torch.float32) / half)
    angles = torch.arange(x.shape[2], dtype=torch.float32)[:, None] * inverse
    cos, sin = angles.cos(), angles.sin()
    a, b = x[..., :half], x[..., half:]
    return torch.cat([a * cos - b * sin, b * cos + a * sin], dim=3)


class Attention(nn.Module):
    """Causal grouped-query attention with normalized queries and keys."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.config = config
        width, head = config.hidden_size, config.head_dim
        self.q_proj = nn.Linear(width, config.num_attention_heads * head, bias=False)
        self.k_proj = nn.Linear(width, config.num_key_value_heads * head, bias=False)
        self.v_proj = nn.Linear(width, config.num_key_value_heads * head, bias=False)
        self.o_proj = nn.Linear(config.num_attention_heads * head, width, bias=False)
        self.q_norm = nn.RMSNorm(head, eps=config.rms_norm_eps)
        self.k_norm = nn.RMSNorm(head, eps=config.rms_norm_eps)

    def forward(self, x: Tensor) -> Tensor:
        """Map `[B, T, D]` to `[B, T, D]`."""
        batch, length, _ = x.shape
        shape = (batch, length, -1, self.config.head_dim)
        q = self.q_norm(self.q_proj(x).view(shape)).transpose(1, 2)
        k = self.k_norm(self.k_proj(x).view(shape)).transpose(1, 2)
        v = self.v_proj(x).view(shape).transpose(1, 2)
        q, k = rotate(q, self.config.rope_theta), rotate(k, self.config.rope_theta)
        # plain products: on a CPU the fused kernel's backward pass is ten times slower
        q = q.view(batch, self.config.num_key_value_heads, -1, length, self.config.head_dim)
        scores = q @ k[:, :, None].transpose(3, 4) * self.config.head_dim**-0.5
        future = torch.full((length, length), float("-inf")).triu(1)
        self.weights = torch.softmax(scores + future, dim=-1)  # kept for losses that guide it
        y = (self.weights @ v[:, :, None]).flatten(1, 2)
        out: Tensor = self.o_proj(y.transpose(1, 2).reshape(batch, length, -1))
        return out


class Mlp(nn.Module):
    """Gated MLP."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        width, inner = config.hidden_size, config.intermediate_size
        self.gate_proj = nn.Linear(width, inner, bias=False)
        self.up_proj = nn.Linear(width, inner, bias=False)
        self.down_proj = nn.Linear(inner, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map `[B, T, D]` to `[B, T, D]`."""
        out: Tensor = self.down_proj(functional.silu(self.gate_proj(x)) * self.up_proj(x))
        return out


class DecoderLayer(nn.Module):
    """One pre-norm layer."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.self_attn = Attention(config)
        self.mlp = Mlp(config)
        self.input_layernorm = nn.RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.post_attention_layernorm = nn.RMSNorm(config.hidden_size, eps=config.rms_norm_eps)

    def forward(self, x: Tensor) -> Tensor:
        """Map `[B, T, D]` to `[B, T, D]`."""
        x = x + self.self_attn(self.input_layernorm(x))
        out: Tensor = x + self.mlp(self.post_attention_layernorm(x))
        return out


class Decoder(nn.Module):
    """The language model up to its last norm; the head is the embedding table."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(DecoderLayer(config) for _ in range(config.num_hidden_layers))
        self.norm = nn.RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        nn.init.normal_(self.embed_tokens.weight, std=config.hidden_size**-0.5)

    def forward(self, x: Tensor) -> Tensor:
        """Map embeddings `[B, T, D]` to hidden states."""
        for layer in self.layers:
            x = layer(x)
        out: Tensor = self.norm(x)
        return out


class Thinker(nn.Module):
    """Both halves, under the names of a released checkpoint."""

    def __init__(self) -> None:
        super().__init__()
        self.audio_tower = AudioEncoder(AUDIO)
        self.model = Decoder(TextConfig())


@dataclass(frozen=True)
class Logits:
    """What the model predicts, one step ahead for the reply."""

    reply: Tensor  # [B, L, V]
    rows: Tensor  # [B, N, V]: the token that ends in a row of audio
    phones: Tensor  # [B, N * PHONE_SLOTS, P]: the phone of every 20 ms


class SpeechModel(nn.Module):
    """Transcribe: audio rows replace the placeholder embeddings of the prompt.

    Two auxiliary tasks use the times that the synthesizer knows. Half-way up, the encoder names
    the phone of every 20 ms; that head is dropped at export. At the top, a row at the end of a
    word is compared with the embedding table itself, and any other row with `<|audio_pad|>`.
    So rows come to look like the words that they carry, and the language model has little left
    to do but to copy: alone, a prefix model this small takes hours to find the alignment.
    """

    def __init__(self, phones: int) -> None:
        super().__init__()
        self.thinker = Thinker()
        self.phones = nn.Linear(AUDIO.d_model, PHONE_SLOTS * phones)

    def forward(self, features: Tensor, frames: Tensor, ids: Tensor, slots: Tensor) -> Logits:
        """Predict from log-mel `[B, mels, T]` and from `ids` `[B, L]`.

        `slots` `[B, L]` is the audio row that a position takes, or -1 for text.
        """
        tower, table = self.thinker.audio_tower, self.thinker.model.embed_tokens
        x, bias = tower.start(features, frames)
        half = AUDIO.encoder_layers // 2
        for layer in tower.layers[:half]:
            x = layer(x, bias)
        phones = self.phones(x).reshape(x.shape[0], x.shape[1] * PHONE_SLOTS, -1)
        for layer in tower.layers[half:]:
            x = layer(x, bias)
        rows = tower.finish(x)
        gathered = rows.gather(1, slots.clamp(min=0)[..., None].expand(-1, -1, rows.shape[2]))
        x = torch.where((slots >= 0)[..., None], gathered, table(ids))
        return Logits(self.thinker.model(x) @ table.weight.T, rows @ table.weight.T, phones)
