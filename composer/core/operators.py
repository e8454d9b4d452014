"""The two operators that a graph has beside its components."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from inspect import Parameter
from typing import Any

import numpy as np

from composer.core.backend import Backend
from composer.core.component import OUT, Option, Signature
from composer.core.errors import ComposerError, Problem
from composer.core.ports import parse_port, parse_ports


@dataclass(frozen=True)
class Operator:
    """A function of a graph that needs no weights; it runs where its first input lives."""

    summary: str
    signature: Signature
    call: Callable[..., Any]


def scatter(backend: Backend, base: Any, at: np.ndarray, values: Any) -> Any:
    """Return base [T, D] with its N marked rows replaced by values [N, D], in order."""
    marks, rows = int(np.count_nonzero(at)), backend.shape(values)[0]
    if marks != rows:
        raise ComposerError(
            Problem(
                "R502",
                f"scatter has {_count(rows, 'row')} of values for "
                f"{_count(marks, 'marked position')}",
                hint="'at' must be the slots of the prompt that these very rows expanded",
            )
        )
    return backend.scatter(base, at, values)


def fill(backend: Backend, ids: Any, at: np.ndarray, *, value: int) -> Any:
    """Return ids [T] with `value` at the marked positions."""
    return backend.fill(ids, at, value)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


OPERATORS: Mapping[str, Operator] = {
    "scatter": Operator(
        "Put rows into marked positions, exactly as many as are marked.",
        Signature(
            inputs={
                "base": parse_ports("T D @S"),
                "at": parse_ports("bool T"),
                "values": parse_ports("N D @S"),
            },
            returns={OUT: parse_port("T D @S")},
        ),
        scatter,
    ),
    "fill": Operator(
        "Put one id into marked positions.",
        Signature(
            inputs={"ids": parse_ports("i64 T"), "at": parse_ports("bool T")},
            returns={OUT: parse_port("i64 T")},
            options={"value": Option(int, Parameter.empty)},
        ),
        fill,
    ),
}
