"""Write what a run gave, as text and as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from composer.cli.printing import count
from composer.core.output import plain_values

if TYPE_CHECKING:
    from composer.jobs.cut_short import CutShort
    from composer.runtime.result import Result

LIMIT = "max_tokens"


def result_json(result: Result, bundle: str) -> dict[str, Any]:
    """Return a result in JSON's types."""
    return {
        "bundle": bundle,
        "outputs": plain_values(result.outputs),
        "finish_reason": result.finish_reason,
        "tokens": result.tokens,
        "timings": {name: round(seconds, 6) for name, seconds in result.timings.items()},
        "notes": list(result.notes),
    }


def outputs_text(outputs: Mapping[str, Any]) -> str:
    """Return the one output's text alone, or each output as `name: value`, texts first."""
    return _value(next(iter(outputs.values()))) if len(outputs) == 1 else outputs_lines(outputs)


def outputs_lines(outputs: Mapping[str, Any]) -> str:
    """Return each output as `name: value`, texts first."""
    names = sorted(outputs, key=lambda name: not isinstance(outputs[name], str))
    return "\n".join(f"{name}: {_value(outputs[name])}" for name in names)


def truncation_warning(cut: CutShort | None, whose: str = "") -> str | None:
    """Return a warning where the decoder stopped at a limit and not of itself."""
    if cut is None:
        return None
    lead = f"{whose}: " if whose else ""
    text = f"{lead}warning: the answer was cut after {count(cut.tokens, 'token')}"
    if cut.limit is None:
        return text
    if cut.tokens < cut.limit:
        return f"{text}, the last that the model has positions for; give it less at once"
    return f"{text}; allow more by --set {cut.node}.{LIMIT}={2 * cut.limit}"


def _value(value: Any) -> str:
    if isinstance(value, str):
        return value
    if hasattr(value, "samples"):
        return f"{value.seconds:.2f} s of audio at {value.rate} Hz"
    shape = ", ".join(map(str, value.shape))
    return f"{value.dtype} [{shape}]; --json prints the numbers"
