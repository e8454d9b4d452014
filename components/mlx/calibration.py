"""Watch what goes into the linear layers of a model of mlx-lm, whatever calls them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from typing import Any

import numpy as np

from composer.core.calibration import (
    Answer,
    Fold,
    LargestLogits,
    LearntScales,
    OnInput,
    expert_path,
)
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
        for path, layer in _layers(self.decoder, switch_linear()).items():
            count, _, width = layer.weight.shape
            for number in range(count):
                found[expert_path(path.removeprefix(self.inside), number)] = width
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
    """Call each function with the rows that go into the linear layer, or the expert, of its path.

    A layer is watched where it stands, also inside what an adapter puts in its place.
    """
    import mlx.nn

    nn: Any = mlx.nn
    watched: list[tuple[Any, type, type, Any]] = []  # a layer, its classes, and what it calls
    for path, layer in _layers(decoder, nn.Linear).items():
        if path in layers:
            watched.append((layer, nn.Linear, _watched_linear(), layers[path]))
    for path, layer in _layers(decoder, switch_linear()).items():
        names = [expert_path(path, number) for number in range(len(layer.weight))]
        own = {number: layers[name] for number, name in enumerate(names) if name in layers}
        if own:
            watched.append((layer, switch_linear(), _watched_switch(), own))
    try:
        for layer, _, watching, on_input in watched:
            object.__setattr__(layer, ON_INPUT, on_input)
            layer.__class__ = watching
        yield
    finally:
        for layer, plain, *_ in watched:
            layer.__class__ = plain
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


def switch_linear() -> Any:
    """Return mlx-lm's class of a layer of experts."""
    from mlx_lm.models.switch_layers import SwitchLinear

    return SwitchLinear


@cache
def _watched_switch() -> Any:
    import mlx.core as mx

    class WatchedSwitch(switch_linear()):  # type: ignore[misc]
        """A layer of experts that shows each one's input."""

        def __call__(self, x: Any, indices: Any, sorted_indices: bool = False) -> Any:
            """Map x [..., M, K], whose outer axes become those of the experts' numbers."""
            rows, numbers = np.array(x.astype(mx.float32)), np.array(indices)
            rows = np.broadcast_to(rows, (*numbers.shape, *rows.shape[-2:]))
            for number, on_input in vars(self)[ON_INPUT].items():
                own = rows[numbers == number]
                if len(own):
                    on_input(own.reshape(-1, own.shape[-1]))
            return super().__call__(x, indices, sorted_indices)

    return WatchedSwitch
