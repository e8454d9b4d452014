"""A prompt's template: literal text, `{name}` slots, and nothing else."""

from __future__ import annotations

import re
from collections.abc import Mapping, Set
from dataclasses import dataclass

_TEXT, _SLOT = r"([^{}]|\{\{|\}\})", r"\{[A-Za-z_][A-Za-z0-9_]*\}"
PATTERN = f"^({_TEXT}|{_SLOT})+$"  # a template, as JSON Schema can say it
PATTERN_WITH_SLOT = f"^{_TEXT}*{_SLOT}({_TEXT}|{_SLOT})*$"
_MARK = re.compile(r"\{\{|\}\}|\{([A-Za-z_][A-Za-z0-9_]*)\}|[{}]")


@dataclass(frozen=True)
class TemplateSlot:
    """The place of an input."""

    name: str


Part = str | TemplateSlot


def parse_template(text: str) -> tuple[Part, ...]:
    """Split a template into literals and slots; raise ValueError if it is invalid."""
    parts: list[Part] = []
    literal, at = "", 0
    for mark in _MARK.finditer(text):
        literal += text[at : mark.start()]
        at = mark.end()
        if mark[1]:
            if literal:
                parts.append(literal)
            parts.append(TemplateSlot(mark[1]))
            literal = ""
        elif len(mark[0]) == 2:
            literal += mark[0][0]
        else:
            raise ValueError(
                f"'{mark[0]}' at character {mark.start() + 1} is not part of a slot: "
                f"write {{name}}, or '{mark[0] * 2}' for the brace itself"
            )
    literal += text[at:]
    if literal:
        parts.append(literal)
    return tuple(parts)


def slot_names(parts: tuple[Part, ...]) -> tuple[str, ...]:
    """Return the names of the slots, each once, in order."""
    return tuple(dict.fromkeys(part.name for part in parts if isinstance(part, TemplateSlot)))


MAX_TEXT = 1_000_000  # characters of a template with a fragment at each of its places


@dataclass(frozen=True)
class Template:
    """A parsed template and its optional fragments, which are left out when unfilled."""

    parts: tuple[Part, ...]
    fragments: Mapping[str, tuple[Part, ...]]

    @classmethod
    def parse(cls, template: str, optional: Mapping[str, str]) -> Template:
        """Parse both and check them against each other; raise ValueError with what is wrong."""
        parts = parse_template(template)
        if not parts:
            raise ValueError("the template is empty")
        fragments = {name: parse_template(text) for name, text in optional.items()}
        for name, fragment in fragments.items():
            if name not in slot_names(parts):
                raise ValueError(f"the template has no {{{name}}} for the optional '{name}'")
            if not slot_names(fragment):
                raise ValueError(f"the optional '{name}' has no slot: write it into the template")
            if nested := [slot for slot in slot_names(fragment) if slot in fragments]:
                raise ValueError(f"the optional '{name}' contains another one, '{nested[0]}'")
        found = []
        for part in parts:
            if isinstance(part, TemplateSlot) and part.name in optional:
                found.append(len(optional[part.name]))
            else:
                found.append(1)
        length = sum(found)
        if length > MAX_TEXT:
            message = f"with its optional fragments the template has {length} characters"
            raise ValueError(f"{message}; the limit is {MAX_TEXT}")
        return cls(parts, fragments)

    @property
    def inputs(self) -> tuple[str, ...]:
        """The names of all inputs, in order."""
        return slot_names(self.all_parts)

    @property
    def required(self) -> frozenset[str]:
        """The inputs outside of optional fragments."""
        return frozenset(slot_names(self.parts)) - self.fragments.keys()

    @property
    def all_parts(self) -> tuple[Part, ...]:
        """All parts, with every fragment inserted."""
        every: set[str] = set()
        for fragment in self.fragments.values():
            every.update(slot_names(fragment))
        return self.with_fragments(every)

    def with_fragments(
        self, filled_slots: Set[str], times: Mapping[str, int] | None = None
    ) -> tuple[Part, ...]:
        """Return the parts with those fragments whose slots are all filled.

        One stands as many times as the slots of it have values, which `times` counts.
        """
        found: list[Part] = []
        for part in self.parts:
            if not isinstance(part, TemplateSlot) or part.name not in self.fragments:
                found.append(part)
            elif filled_slots >= set(slot_names(self.fragments[part.name])):
                fragment = self.fragments[part.name]
                counts = [(times or {}).get(name, 1) for name in slot_names(fragment)]
                found += fragment * max(counts)
        return tuple(found)
