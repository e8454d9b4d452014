"""Learn the scales and biases of packed layers from the logits of the model that is not packed.

This is DWQ for a decoder that continues rows. mlx-lm's own code runs batches of ids, which no row
of speech has, without adapters; its loss compares the largest logits too, though not the rest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from composer.core.calibration import LargestLogits, LearntScales
from composer.generation.decoder import DecoderInput

from .decoder import MlxLmDecoder
from .dtypes import mlx_dtype as to_dtype

EPOCHS = 8
RATE = 1e-3  # of Adam: what a step moves, of a scale, or in scales of a bias


@dataclass(frozen=True)
class Lesson:
    """A prompt and its answer as rows of a model, of which the first so many are the prompt's."""

    prompt: DecoderInput
    count: int

    def logits(self, decoder: MlxLmDecoder) -> Any:
        """Return the logits float32 [N, V] before each id of the answer, as adapters are."""
        import mlx.core as mx

        made = decoder.call(None, self.prompt.part(0, len(self.prompt)))
        return made[0, self.count - 1 :].astype(mx.float32)


@dataclass(frozen=True)
class _Layer:
    """A packed layer, its scales and biases in float32, and the dtype that they are stored in."""

    module: Any
    scales: Any
    biases: Any
    stored: Any

    def moved(self, offsets: Any) -> tuple[Any, Any]:
        """Return scales and biases with offsets [2, N, G], rounded as they will be stored.

        Gradients pass through the rounding.
        """
        import mlx.core as mx

        found = []
        for values in (self.scales * (1 + offsets[0]), self.biases + self.scales * offsets[1]):
            rounded = values.astype(self.stored).astype(mx.float32)
            found.append(values + mx.stop_gradient(rounded - values))
        return found[0], found[1]

    def put(self, offsets: Any) -> None:
        """Let the layer multiply by them."""
        kind = self.module.scales.dtype
        scales, biases = self.moved(offsets)
        self.module.scales, self.module.biases = scales.astype(kind), biases.astype(kind)


def distill(
    decoder: MlxLmDecoder,
    modules: Mapping[str, Any],
    dtypes: Mapping[str, str],
    lessons: Sequence[Lesson],
    logits: Sequence[LargestLogits],
    seed: int,
) -> dict[str, LearntScales]:
    """Return the scales and biases with which the lessons' logits were nearest to those given.

    Each epoch goes through the lessons in an order of its own, by the seed; what was best at the
    end of one is kept, and that may be what they were.
    """
    import mlx.core as mx
    import mlx.optimizers as optimizers

    layers = {}
    for path, module in modules.items():
        parts = module.scales.astype(mx.float32), module.biases.astype(mx.float32)
        layers[path] = _Layer(module, *parts, to_dtype(dtypes[path]))

    def loss(offsets: Mapping[str, Any], number: int) -> Any:
        for path, layer in layers.items():
            layer.put(offsets[path])
        return divergence(lessons[number].logits(decoder), logits[number])

    def measure(offsets: Mapping[str, Any]) -> float:
        total = 0.0
        for number, lesson in enumerate(lessons):
            decoder.switch(lesson.prompt.adapters)
            total += float(loss(offsets, number).item())
        return total

    offsets = {path: mx.zeros((2, *layer.scales.shape)) for path, layer in layers.items()}
    best, least = offsets, measure(offsets)
    step, adam = mx.value_and_grad(loss), optimizers.Adam(RATE, bias_correction=True)
    random = np.random.default_rng(seed)
    for _ in range(EPOCHS):
        for number in random.permutation(len(lessons)).tolist():
            decoder.switch(lessons[number].prompt.adapters)
            _, gradients = step(offsets, number)
            offsets = adam.apply_gradients(gradients, offsets)
            mx.eval(offsets, adam.state)
        found = measure(offsets)
        if found < least:
            best, least = offsets, found
    learnt = {}
    for path, layer in layers.items():
        scales, biases = layer.moved(best[path])
        learnt[path] = LearntScales(np.array(scales), np.array(biases))
        layer.put(best[path])
    return learnt


def divergence(logits: Any, given: LargestLogits) -> Any:
    """Return the sum over rows of KL(given || logits), where the rest of a row is one outcome."""
    import mlx.core as mx

    ids, p, rest = (mx.array(each) for each in given)
    q = logits - mx.logsumexp(logits, axis=1, keepdims=True)
    total = (mx.exp(p) * (p - mx.take_along_axis(q, ids, axis=1))).sum()
    if ids.shape[1] == q.shape[1]:
        return total
    others = ~mx.put_along_axis(mx.zeros(q.shape, mx.bool_), ids, mx.array(True), axis=1)
    left = mx.logsumexp(mx.where(others, q, -mx.inf), axis=1)
    return total + (mx.exp(rest) * (rest - left)).sum()
