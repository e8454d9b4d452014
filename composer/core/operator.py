"""What an operator is: a function of a graph with ports, which needs no weights."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from composer.core.backend import Backend
from composer.core.call_signature import MANY, CallSignature, item_name, signature_of
from composer.core.errors import ComposerError, Problem

Lengths = Callable[..., Mapping[str, int]]


@dataclass(frozen=True)
class Operator:
    """A function of NumPy's arrays with its ports.

    It runs where its first input lives if that backend offers it under its name, in NumPy
    otherwise. `check` sees the same arguments in either case and raises ComposerError where they
    do not belong together.

    `lengths` takes the numbers that are known of its inputs' symbols, and its options, and returns
    those that follow; it raises ValueError for numbers that it cannot take. It is asked when a
    bundle is checked, with what headers fix, and in each run. `keeps_space` takes the options and
    says whether the outputs stay in the space of their port. The rows of an operator that `joins`
    are those of the several values of its only input.
    """

    name: str
    summary: str
    signature: CallSignature
    function: Callable[..., Any]
    check: Callable[..., None] | None = None
    lengths: Lengths | None = None
    keeps_space: Callable[..., bool] | None = None
    joins: bool = False

    def __call__(self, backend: Backend, **given: Any) -> Any:
        """Run it on the arrays of a backend."""
        if self.check:
            self.check(**given)
        if self.lengths:
            self._check_lengths(backend, given)
        return backend.operators.get(self.name, self.function)(**given)

    @property
    def required_options(self) -> frozenset[str]:
        """Return the options without a default."""
        return self.signature.required_options

    def options(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the options of a call, defaults included."""
        return {name: given.get(name, each) for name, each in self.signature.defaults.items()}

    def _check_lengths(self, backend: Backend, given: Mapping[str, Any]) -> None:
        """Raise R506 if the shapes of the arrays are none that it takes."""
        assert self.lengths
        known: dict[str, int] = {}
        signature, arrays = self.signature, dict(given)
        for name in self.signature.several:
            signature = signature.with_items(name, len(given[name]))
            for index, array in enumerate(given[name]):
                arrays[item_name(name, index)] = array
        for name, ports in signature.inputs.items():
            shape = arrays[name].shape  # marks of padding are arrays of NumPy everywhere
            if ports[0].dtype != "bool":
                shape = backend.shape(arrays[name])
            known |= dict(zip(map(str, ports[0].dims), shape, strict=True))
        try:
            self.lengths(known, **self.options(given))
        except ValueError as error:
            message = f"{self.name} {error}"
            raise ComposerError(Problem("R506", message)) from None


def operator(
    *,
    returns: str | Mapping[str, str],
    check: Callable[..., None] | None = None,
    lengths: Lengths | None = None,
    keeps_space: Callable[..., bool] | None = None,
    joins: bool = False,
    **inputs: str,
) -> Callable[[Callable[..., Any]], Operator]:
    """Make a function an operator of its name, with ports and options like a method.

    Its entry point, in the group `composer.operators`, has the same name. An input whose port ends
    in `...` takes a list of values, and the function a tuple.
    """
    if joins and not all(text.endswith(MANY) for text in inputs.values()):
        raise ValueError("an operator that joins has one input, which takes several values")

    def decorate(function: Callable[..., Any]) -> Operator:
        summary = (inspect.getdoc(function) or "").partition("\n")[0]
        signature = signature_of(function, inputs, returns)
        return Operator(
            function.__name__, summary, signature, function, check, lengths, keeps_space, joins
        )

    return decorate
