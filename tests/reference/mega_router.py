"""Mega-ASR's router in torch, as its description has it: a reference that knows nothing of ours."""

import json

import numpy as np
import torch
from safetensors.torch import save_file
from scipy.signal import resample_poly
from torch import nn

RATE, HOP, N_FFT = 16_000, 160, 400


class Pooling(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.query = nn.Linear(width, 1)

    def forward(self, x):
        return (torch.softmax(self.query(x), dim=1) * x).sum(1)


class Router(nn.Module):
    """Sizes are the release's, made small."""

    def __init__(self, channels=16, width=32, heads=4, ffn=48, positions=850, hidden=24):
        super().__init__()
        mels, layers = 80, 1
        self.sizes = {"n_mels": mels, "d_model": width, "nhead": heads, "dim_feedforward": ffn}
        self.frontend = nn.Module()
        self.frontend.conv = nn.Sequential(
            nn.Conv1d(mels, channels, 3, 2, 1), nn.BatchNorm1d(channels), nn.GELU(), nn.Dropout(),
            nn.Conv1d(channels, width, 3, 2, 1), nn.BatchNorm1d(width), nn.GELU(), nn.Dropout(),
        )  # fmt: skip
        self.pos_encoder = nn.Module()
        rates = torch.exp(torch.arange(0, width, 2) * (-np.log(10_000.0) / width))
        angles = torch.arange(positions)[:, None] * rates
        table = torch.stack([angles.sin(), angles.cos()], -1).reshape(1, positions, width)
        self.pos_encoder.register_buffer("pe", table)
        layer = nn.TransformerEncoderLayer(
            width, heads, ffn, activation="gelu", batch_first=True, norm_first=True
        )
        self.transformer = nn.TransformerEncoder(
            layer, layers, nn.LayerNorm(width), enable_nested_tensor=False
        )
        self.pooling = Pooling(width)
        self.classifier = nn.Sequential(
            nn.Linear(width, hidden), nn.GELU(), nn.Dropout(), nn.Linear(hidden, 2)
        )

    def stages(self, mel):
        """Return what each stage makes of log-mel [M, F]."""
        with torch.no_grad():
            x = self.frontend.conv(torch.from_numpy(mel)[None]).transpose(1, 2)
            front = x + self.pos_encoder.pe[:, : x.shape[1]]
            rows = self.transformer(front)
            logits = self.classifier(self.pooling(rows))
        return front[0].numpy(), rows[0].numpy(), torch.softmax(logits, -1).numpy()


def make_router(seed=4, **sizes):
    """Return a router whose every tensor is far from what it is initialised with."""
    torch.manual_seed(seed)
    made = Router(**sizes).eval()
    for name, value in made.state_dict().items():
        if value.is_floating_point() and name != "pos_encoder.pe":
            value += 0.3 * torch.randn_like(value)
        if name.endswith("running_var"):
            value.copy_(0.3 + value.abs())
    return made


def save_router(router, file, claims=None, **changed):
    """Write a router as the release is: `nhead` is in the header alone."""
    model = {**router.sizes, "num_layers": 4, "max_len": 3000} if claims is None else claims
    state = {**router.state_dict(), **changed}
    state = {name: value.contiguous() for name, value in state.items() if value is not None}
    save_file(state, file, metadata={"config": json.dumps({"model": model}), "format": "pt"})
    return file


def features(samples, rate, filters):
    """Return log-mel [M, N // 160 + 1], by torch's own STFT.

    It is taken in float64: in bands without sound its float32 one has rounding alone.
    """
    common = np.gcd(rate, RATE)
    resampled = resample_poly(samples.astype(np.float64), RATE // common, rate // common)
    wave = torch.from_numpy(resampled.astype(np.float32)).double()
    spectrum = torch.stft(
        wave, N_FFT, HOP, window=torch.hann_window(N_FFT, dtype=torch.float64), center=True,
        pad_mode="reflect", return_complex=True,
    )  # fmt: skip
    mel = torch.from_numpy(filters).double() @ spectrum.abs().square()
    return ((torch.log10(mel.clamp(min=1e-10)) + 4) / 4).float().numpy()
