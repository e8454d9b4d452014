"""What a decoder is given and what it answers, run by run, to be read again by it alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from composer.comparison.decoder_steps import IDS
from composer.comparison.divergence import Inputs, decoder_node
from composer.core.calibration import Answer
from composer.runtime.bundle import Bundle


def read_answers(bundle: Bundle, task: str, runs: Sequence[Inputs]) -> tuple[str, list[Answer]]:
    """Run a task on each of some inputs; return its decoder's name, and what that was given.

    A clip that is cut gives one answer for each piece. Raise ComposerError R597 where no decoder of
    the task replays its steps.
    """
    node = decoder_node(bundle, task)
    assert node.component
    names = dict.fromkeys(node.wires.values())
    found = []
    for inputs in runs:
        result = bundle.run(task=task, taps=names, **inputs)
        pieces: dict[str, dict[str, np.ndarray]] = {}
        for key, value in result.taps.items():
            number, _, name = key.rpartition("/")
            if name in names:
                pieces.setdefault(number, {})[name] = np.asarray(value)
        for values in pieces.values():
            given: dict[str, Any] = {key: values[name] for key, name in node.wires.items()}
            ids = given.pop(IDS)
            if len(ids):
                found.append(Answer(ids, {**node.literals, **node.options, **given}))
    return node.component, found
