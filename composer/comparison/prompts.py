"""What a bundle's decoder is given, run by run, so that it can be run again without the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from composer.comparison.decoder_steps import IDS
from composer.comparison.divergence import Inputs, stepped_node
from composer.core.call_signature import OUT
from composer.graph.graph import Node
from composer.runtime.bundle import Bundle


@dataclass(frozen=True)
class Prompt:
    """The values that go into a decoder, and the ids that it answered, by the names of a graph."""

    values: Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Prompts:
    """What a task's decoder is given in some runs; `node` has it replay an answer."""

    task: str
    node: Node
    prompts: tuple[Prompt, ...]

    def replay(self, bundle: Bundle, prompt: Prompt) -> np.ndarray:
        """Return the logits [N, V] before each id of the answer, those of a bundle's decoder."""
        out = self.node.outputs[OUT]
        only = [self.node.name]
        result = bundle.run(task=self.task, only=only, feed=prompt.values, taps=[out])
        return np.asarray(result.taps[out])


def read_prompts(bundle: Bundle, task: str, runs: Sequence[Inputs]) -> Prompts:
    """Run a task on each of some inputs, and keep what its decoder is given and what it answers.

    A clip that is cut gives one prompt for each piece. Raise ComposerError R597 where no decoder of
    the task replays its steps.
    """
    node = stepped_node(bundle, task)
    names = dict.fromkeys(node.wires.values())
    found = []
    for inputs in runs:
        result = bundle.run(task=task, taps=names, **inputs)
        pieces: dict[str, dict[str, np.ndarray]] = {}
        for key, value in result.taps.items():
            number, _, name = key.rpartition("/")
            if name in names:
                pieces.setdefault(number, {})[name] = np.asarray(value)
        found += [Prompt(values) for values in pieces.values() if len(values[node.wires[IDS]])]
    return Prompts(task, node, tuple(found))
