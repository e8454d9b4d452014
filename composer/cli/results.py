"""Write what a run gave, as text and as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import typer

from composer.cli.printing import count

if TYPE_CHECKING:
    from composer.graph.graph import Graph
    from composer.runtime.run import Result

Options = Mapping[str, Mapping[str, Any]]

CUT, LIMIT = "length", "max_tokens"


def result_json(result: Result, bundle: str) -> dict[str, Any]:
    """Return a result as JSON holds it."""
    return {
        "bundle": bundle,
        "outputs": plains(result.outputs),
        "finish_reason": result.finish_reason,
        "tokens": result.tokens,
        "timings": {name: round(seconds, 6) for name, seconds in result.timings.items()},
    }


def plains(outputs: Mapping[str, Any]) -> dict[str, Any]:
    """Return outputs in JSON's types: arrays as lists, audio as its rate and samples."""
    return {name: _plain(value) for name, value in outputs.items()}


def _plain(value: Any) -> Any:
    if hasattr(value, "samples"):
        return {"rate": value.rate, "samples": value.samples.tolist()}
    return value.tolist() if hasattr(value, "tolist") else value


def as_text(outputs: Mapping[str, Any]) -> str:
    """Return the one output's text alone, or each output as `name: value`, texts first."""
    return _value(next(iter(outputs.values()))) if len(outputs) == 1 else as_lines(outputs)


def as_lines(outputs: Mapping[str, Any]) -> str:
    """Return each output as `name: value`, texts first."""
    names = sorted(outputs, key=lambda name: not isinstance(outputs[name], str))
    return "\n".join(f"{name}: {_value(outputs[name])}" for name in names)


def audio_input(graph: Graph) -> str:
    """Return the name of the task's one audio input."""
    names = [name for name, entry in graph.inputs.items() if entry.type == "audio"]
    if len(names) != 1:
        found = f"has {len(names)} audio inputs ({', '.join(names)})" if names else "takes no audio"
        raise typer.BadParameter(f"task '{graph.task}' {found}; composer run gives every input")
    return names[0]


def text_output(graph: Graph) -> str:
    """Return the name of the output that is the answer: `text`, or the only text there is."""
    kinds = {name: graph.values[value].port for name, value in graph.outputs.items()}
    names = [name for name, port in kinds.items() if port and port.kind == "text"]
    if "text" in names:
        return "text"
    if len(names) != 1:
        found = f"several texts ({', '.join(names)})" if names else "no text"
        raise typer.BadParameter(f"task '{graph.task}' gives {found}; composer run prints all")
    return names[0]


def cut_short(result: Result, graph: Graph, options: Options, whose: str = "") -> str | None:
    """Return a warning where the decoder stopped at a limit and not of itself.

    `options` are those that the run set, by node.
    """
    if result.finish_reason != CUT:
        return None
    *_, node = (
        node
        for name, node in graph.nodes.items()
        if name in result.timings and node.signature and node.signature.streams
    )
    assert node.signature is not None
    defaults = {name: option.default for name, option in node.signature.options.items()}
    limit = {**defaults, **node.options, **options.get(node.name, {})}.get(LIMIT)
    lead = f"{whose}: " if whose else ""
    cut = f"{lead}warning: the answer was cut after {count(result.tokens, 'token')}"
    if not isinstance(limit, int):
        return cut
    if result.tokens < limit:
        return f"{cut}, the last that the model has positions for; give it less at once"
    return f"{cut}; allow more by --set {node.name}.{LIMIT}={2 * limit}"


def _value(value: Any) -> str:
    if isinstance(value, str):
        return value
    if hasattr(value, "samples"):
        return f"{value.seconds:.2f} s of audio at {value.rate} Hz"
    shape = ", ".join(map(str, value.shape))
    return f"{value.dtype} [{shape}]; --json prints the numbers"
