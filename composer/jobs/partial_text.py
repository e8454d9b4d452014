"""Follow the text that a speech task will give, while its decoder still writes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from composer.core.call_signature import CALL, OUT
from composer.core.component import Token
from composer.core.joined_text import separator
from composer.graph.checked import Checked
from composer.graph.graph import Graph, Node


@dataclass
class PartialText:
    """What is certain of a task's text: the decoder's own, or what a component makes of it.

    `text` is the name of the output, `inputs` what the task was given. Pieces of split audio are
    joined as the task joins them. Nothing is certain before the end of any other text.
    """

    checked: Checked
    graph: Graph
    text: str
    inputs: Mapping[str, Any]
    sent: str = ""
    _before: str = ""  # the text of the pieces that are done
    _separator: str = ""
    _piece: int = 0
    _raw: str = ""  # what the decoder wrote in this piece

    def add(self, token: Token) -> str:
        """Add what was decoded; return what became certain by it."""
        if token.piece != self._piece:
            self._before += self._joined(done=True)
            self._raw, self._separator, self._piece = "", "", token.piece
        self._separator += token.separator
        self._raw += token.text[len(token.separator) :]
        return self._send(self._before + self._joined(done=False))

    def finish(self, whole: str) -> str:
        """Return the rest of the whole text; nothing where it is not what was sent so far."""
        return self._send(whole)

    def _send(self, certain: str) -> str:
        if not certain.startswith(self.sent):
            return ""
        new = certain[len(self.sent) :]
        self.sent = certain
        return new

    def _joined(self, done: bool) -> str:
        text = self._text(done)
        if not (self._before and text):
            return text
        return separator(self._before, text, self._separator) + text

    def _text(self, done: bool) -> str:
        value = self.graph.outputs[self.text]
        node = _source(self.graph, value)
        if node is None:
            return ""
        if _streams(node):
            return self._raw if node.outputs.get("text") == value else ""
        if node.component is None or node.method != CALL or node.outputs.get(OUT) != value:
            return ""
        texts = dict(node.literals)
        for key, name in node.wires.items():
            source = _source(self.graph, name)
            if source is None:
                texts[key] = self._input(name)
            elif _streams(source) and source.outputs.get("text") == name:
                texts[key] = self._raw
            else:
                return ""
        known = self.checked.components[node.component]
        return known.cls.partial_text(known.spec.config, texts, done)

    def _input(self, name: str) -> str:
        given = self.inputs.get(name)
        return str((self.graph.inputs[name].default if given is None else given) or "")


def _source(graph: Graph, value: str) -> Node | None:
    """Return the node that a value comes from; None of an input."""
    for node in graph.nodes.values():
        if value in node.outputs.values():
            return node
    return None


def _streams(node: Node) -> bool:
    return node.signature is not None and node.signature.streams
