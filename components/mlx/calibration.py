"""Watch what goes into the linear layers of a model of mlx-lm, whatever calls them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from typing import Any

import numpy as np

from composer.core.calibration import Answer, Fold, LargestLogits, LearntScales, OnInput
from composer.generation.decoder import DecoderInput
from composer.generation.tokenizer_process import RawTokenizer

from .decoder import MlxLmDecoder
from .distillation import Lesson, distill
from .lora import MlxAdapters
from .mlx_lm_support import EMBEDS

WINDOW = 256  # ids of a text that are read at once
ON_INPUT = "_on_input"
LLAMA = ("input_layernorm", "post_attention_layernorm")
NORMS = {  # before attention and before the MLP, by architecture: those that multiply by a weight
    **dict.fromkeys(("llama", "mistral", "qwen2", "qwen3"), LLAMA),
    "gemma4_text": ("input_layernorm", "pre_feedforward_layernorm"),
}
QKV = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")
GATE, UP, DOWN = "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"


class CalibratedDecoder:
    """What a component with a decoder of mlx-lm offers to calibration; see `Calibrated`.

    `inside` is what the paths of its layers begin with in the model, and not in a recipe.
    """

    decoder: MlxLmDecoder
    tokenizer: RawTokenizer
    adapters: MlxAdapters
    inside = ""

    def prompt_of(self, **inputs: Any) -> DecoderInput:
        """Return the prompt of what `replay` is given."""
        return DecoderInput({EMBEDS: inputs["embeds"]}, tuple(inputs.get("adapters", ())))

    def input_widths(self) -> Mapping[str, int]:
        import mlx.nn

        nn: Any = mlx.nn
        found = {}
        for path, layer in _layers(self.decoder, nn.Linear).items():
            found[path.removeprefix(self.inside)] = layer.weight.shape[1]
        return found

    def watch(self, layers: Mapping[str, OnInput]) -> AbstractContextManager[None]:
        inside = {f"{self.inside}{path}": on_input for path, on_input in layers.items()}
        return watch_inputs(self.decoder, inside)

    def folds(self) -> list[Fold]:
        norms = NORMS.get(self.decoder.model.model_type)
        if norms is None:
            return []
        linears = self.input_widths()
        adapted = {path.removeprefix(self.inside) for path in self.adapters.targets}
        found = []
        for start in dict.fromkeys(path.partition(".self_attn.")[0] for path in linears):
            for before, names in ((norms[0], QKV), (norms[1], (GATE, UP)), (UP, (DOWN,))):
                paths = [f"{start}.{name}" for name in names]
                fold = Fold(f"{start}.{before}", tuple(p for p in paths if p in linears))
                if fold.layers and not adapted & {fold.before, *fold.layers}:
                    found.append(fold)
        return found

    def texts(self, text: str) -> list[Answer]:
        ids = np.array(self.tokenizer.encode(text, special=True)[0], np.int64)
        return [Answer(ids[start : start + WINDOW]) for start in range(0, len(ids), WINDOW)]

    def read(self, answer: Answer) -> np.ndarray:
        import mlx.core as mx

        with mx.stream(self.decoder.device):
            lesson = self.lesson(answer)
            self.decoder.switch(lesson.prompt.adapters)
            return np.array(lesson.logits(self.decoder))

    def distill(
        self,
        answers: Sequence[Answer],
        logits: Sequence[LargestLogits],
        dtypes: Mapping[str, str],
        seed: int,
    ) -> Mapping[str, LearntScales]:
        import mlx.core as mx
        import mlx.nn

        nn: Any = mlx.nn
        modules = _layers(self.decoder, nn.QuantizedLinear)
        with mx.stream(self.decoder.device):
            lessons = [self.lesson(answer) for answer in answers]
            layers = {path: modules[f"{self.inside}{path}"] for path in dtypes}
            return distill(self.decoder, layers, dtypes, lessons, logits, seed)

    def lesson(self, answer: Answer) -> Lesson:
        """Return an answer with what comes before it as rows of the model."""
        import mlx.core as mx

        if answer.inputs is None:
            return Lesson(DecoderInput(self.decoder.rows(mx.array(answer.ids))), 1)
        after = self.decoder.rows(mx.array(answer.ids[:-1]))
        given = {}
        for name, value in answer.inputs.items():
            given[name] = value
            if isinstance(value, np.ndarray):
                given[name] = mx.array(value)
        prompt = self.prompt_of(**given)
        rows = {}
        for name, own in prompt.rows.items():
            rows[name] = mx.concatenate([own.astype(after[name].dtype), after[name]])
        return Lesson(DecoderInput(rows, prompt.adapters), len(prompt))


@contextmanager
def watch_inputs(decoder: MlxLmDecoder, layers: Mapping[str, OnInput]) -> Iterator[None]:
    """Call each function with the rows that go into the linear layer of its path.

    A layer is watched where it stands, also inside what an adapter puts in its place.
    """
    import mlx.nn

    nn: Any = mlx.nn
    found = _layers(decoder, nn.Linear)
    watched = [found[path] for path in layers]
    try:
        for layer, on_input in zip(watched, layers.values(), strict=True):
            object.__setattr__(layer, ON_INPUT, on_input)
            layer.__class__ = _watched_linear()
        yield
    finally:
        for layer in watched:
            layer.__class__ = nn.Linear
            vars(layer).pop(ON_INPUT, None)


def _layers(decoder: MlxLmDecoder, kind: Any) -> dict[str, Any]:
    """Return the modules of exactly one class by path."""
    decoder.switch(())  # with an adapter on, another module stands where the layer is
    return {path: each for path, each in decoder.model.named_modules() if type(each) is kind}


@cache
def _watched_linear() -> Any:
    import mlx.core as mx
    import mlx.nn

    nn: Any = mlx.nn

    class WatchedLinear(nn.Linear):  # type: ignore[misc]
        """A linear layer that shows its input."""

        def __call__(self, x: Any) -> Any:
            rows = x.reshape(-1, x.shape[-1]).astype(mx.float32)
            vars(self)[ON_INPUT](np.array(rows))
            return super().__call__(x)

    return WatchedLinear
