"""What an operator is: a function of a graph with ports, which needs no weights."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from composer.core.backend import Backend
from composer.core.signature import Signature, signature_of


@dataclass(frozen=True)
class Operator:
    """A function of NumPy's arrays with its ports.

    It runs where its first input lives if that backend offers it under its name, in NumPy
    otherwise. `check` sees the same arguments in either case and raises ComposerError where they
    do not belong together.
    """

    name: str
    summary: str
    signature: Signature
    function: Callable[..., Any]
    check: Callable[..., None] | None = None

    def __call__(self, backend: Backend, **given: Any) -> Any:
        """Run it on the arrays of a backend."""
        if self.check:
            self.check(**given)
        return backend.operators.get(self.name, self.function)(**given)


def operator(
    *,
    returns: str | Mapping[str, str],
    check: Callable[..., None] | None = None,
    **inputs: str,
) -> Callable[[Callable[..., Any]], Operator]:
    """Make a function an operator of its name, with ports and options like a method.

    Its entry point, in the group `composer.operators`, has the same name.
    """

    def decorate(function: Callable[..., Any]) -> Operator:
        summary = (inspect.getdoc(function) or "").partition("\n")[0]
        signature = signature_of(function, inputs, returns)
        return Operator(function.__name__, summary, signature, function, check)

    return decorate
