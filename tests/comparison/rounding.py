"""A decoder of a few layers whose operations may round to bfloat16, and faults to put into it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from composer.comparison.residuals import Residuals

WIDTH, INNER, VOCABULARY, LAYERS, RANK = 64, 128, 128, 3, 4
Weights = dict[str, np.ndarray]


def rounded(x: np.ndarray) -> np.ndarray:
    """Round to bfloat16, to even."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000).astype(np.uint32).view(np.float32)


def weights(seed: int) -> Weights:
    """Return random weights that bfloat16 holds exactly."""
    normal = np.random.default_rng(seed).standard_normal
    found: Weights = {"norm": 1 + normal(WIDTH) / 5, "embed": normal((VOCABULARY, WIDTH))}
    for layer in range(LAYERS):
        for name, shape, size in (
            ("q", (WIDTH, WIDTH), 0.19), ("k", (WIDTH, WIDTH), 0.19), ("v", (WIDTH, WIDTH), 0.125),
            ("o", (WIDTH, WIDTH), 0.125), ("gate", (WIDTH, INNER), 0.125),
            ("up", (WIDTH, INNER), 0.125), ("down", (INNER, WIDTH), 0.09),
            ("a", (WIDTH, RANK), 0.125), ("b", (RANK, WIDTH), 0.25),
        ):  # fmt: skip
            found[f"{name}{layer}"] = normal(shape) * size
        for name in ("in", "mlp"):
            found[f"{name}{layer}"] = 1 + normal(WIDTH) / 5
    return {name: rounded(each) for name, each in found.items()}


@dataclass(frozen=True)
class Decoder:
    """The model: `order` is a seed for the order in which products are summed."""

    weights: Weights
    cap: float = 30.0
    low: bool = False
    order: int = 0

    def round(self, x: np.ndarray) -> np.ndarray:
        return rounded(x) if self.low else x

    def product(self, x: np.ndarray, matrix: np.ndarray) -> np.ndarray:
        if not self.order:
            return self.round(x @ matrix)
        length = len(matrix)
        places = np.random.default_rng(self.order + length).permutation(length)
        halves = np.split(places, [length // 2])
        return self.round(sum(self.round(x[:, half] @ matrix[half]) for half in halves))

    def normed(self, x: np.ndarray, weight: np.ndarray) -> np.ndarray:
        mean = np.mean(x * x, axis=-1, keepdims=True)
        return self.round(self.round(x / np.sqrt(mean + np.float32(1e-6))) * weight)

    def logits(self, ids: np.ndarray) -> np.ndarray:
        w, product = self.weights, self.product
        x = w["embed"][ids]
        later = np.triu(np.full((len(ids), len(ids)), -1e9, np.float32), 1)
        for layer in range(LAYERS):
            y = self.normed(x, w[f"in{layer}"])
            adapted = product(product(y, w[f"a{layer}"]), w[f"b{layer}"])
            q = self.round(product(y, w[f"q{layer}"]) + adapted)
            k, v = (product(y, w[f"{name}{layer}"]) for name in "kv")
            scores = self.round(q @ k.T / np.float32(8)) + later
            chances = np.exp(scores - scores.max(axis=-1, keepdims=True))
            chances = self.round(chances / chances.sum(axis=-1, keepdims=True))
            x = self.round(x + product(product(chances, v), w[f"o{layer}"]))
            y = self.normed(x, w[f"mlp{layer}"])
            gate = product(y, w[f"gate{layer}"])
            inner = self.round(gate / (1 + np.exp(-gate)) * product(y, w[f"up{layer}"]))
            x = self.round(x + product(inner, w[f"down{layer}"]))
        z = product(self.normed(x, w["norm"]), w["embed"].T.copy())
        capped = np.float32(self.cap) * np.tanh(self.round(z / np.float32(self.cap)))
        return self.round(capped).astype(np.float64)

    def rows(self, clips: list[np.ndarray]) -> list[np.ndarray]:
        return [self.logits(clip) for clip in clips]

    def changed(self, name: str, change: Callable[[np.ndarray], np.ndarray]) -> Decoder:
        return replace(self, weights={**self.weights, name: change(self.weights[name].copy())})


def clips(seed: int, count: int, length: int) -> list[np.ndarray]:
    """Return random ids."""
    random = np.random.default_rng(1000 + seed)
    return [random.integers(0, VOCABULARY, length) for _ in range(count)]


def without(axis: int, at: int) -> Callable[[np.ndarray], np.ndarray]:
    """Return a change that sets one row or column to zero."""

    def change(matrix: np.ndarray) -> np.ndarray:
        np.moveaxis(matrix, axis, 0)[at] = 0
        return matrix

    return change


def flipped(matrix: np.ndarray) -> np.ndarray:
    """Return a matrix with one packed word of eight 4-bit weights flipped."""
    lowest, highest = matrix[:, 17].min(), matrix[:, 17].max()
    matrix[8:16, 17] = lowest + highest - matrix[8:16, 17]
    return matrix


def louder(weight: np.ndarray) -> np.ndarray:
    """Return a norm's weight that is 1 % larger."""
    return weight * np.float32(1.01)


FAULTS: dict[str, Callable[[Decoder], Decoder]] = {
    "softcap 25 for 30": lambda decoder: replace(decoder, cap=25.0),
    "a row of down_proj": lambda decoder: decoder.changed("down1", without(1, 17)),
    "a column of down_proj": lambda decoder: decoder.changed("down1", without(0, 17)),
    "1 % on a norm": lambda decoder: decoder.changed("in1", louder),
    "1 % on another norm": lambda decoder: decoder.changed("mlp1", louder),
    "1 % on the last norm": lambda decoder: decoder.changed("norm", louder),
    "a row of an adapter": lambda decoder: decoder.changed("a1", without(1, 2)),
    "a packed word": lambda decoder: decoder.changed("down1", flipped),
    "a packed word of q_proj": lambda decoder: decoder.changed("q1", flipped),
}


def stage_of(right: Decoder, ids: list[np.ndarray]) -> Residuals:
    """Return a float32 model's logits as a stage whose floor is the model in bfloat16."""
    found = Residuals.of(right.rows(ids), replace(right, low=True).rows(ids))
    assert found is not None
    return found


def residuals(seed: int, count: int = 8, length: int = 24) -> tuple[Residuals, np.ndarray]:
    """Return a stage, and the residuals of a right model that sums in another order."""
    right, ids = Decoder(weights(seed)), clips(seed, count, length)
    stage = stage_of(right, ids)
    return stage, stage.residual(replace(right, low=True, order=seed + 1).rows(ids))
