"""The templates of a conversation's turns, written by an author or those of a known form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .chat_forms import CHECKPOINT, FORMS, ChatFormat
from .chat_template import read_form
from .template import Template, parse_template, slot_names

if TYPE_CHECKING:
    from composer.core.location import Location
    from composer.formats import Headers


@dataclass(frozen=True)
class TurnTemplates:
    """What stands around a text in the first turn and in every other one."""

    first: str
    next: str
    optional: Mapping[str, str] = field(default_factory=dict)
    defaults: Mapping[str, str] = field(default_factory=dict)
    trimmed: tuple[str, ...] = ()
    reasoning: tuple[str, ...] = ()
    breaks: tuple[str, ...] = ()  # texts that are left out behind reasoning

    @property
    def templates(self) -> Mapping[str, Template]:
        """Both templates by name, each with its fragments."""
        found = {}
        for name, text in (("first", self.first), ("next", self.next)):
            named = slot_names(parse_template(text))
            fragments = {key: self.optional[key] for key in self.optional if key in named}
            found[name] = Template.parse(text, fragments)
        return found

    def text(self, name: str, given: str | None) -> str:
        """Return the text of a slot as the form takes it."""
        found = given or self.defaults.get(name, "")
        if name in self.trimmed:
            return found.strip()
        return found


def form_templates(
    name: str, thinking: bool | None, files: Location | None, headers: Headers | None
) -> TurnTemplates | None:
    """Return the turns of a known form; None if it is that of a checkpoint that is not here."""
    if name != CHECKPOINT:
        return _turns(FORMS[name], thinking)
    if headers is None or files is None:
        return None
    return _turns(read_form(files, headers), thinking)


def _turns(form: ChatFormat, thinking: bool | None) -> TurnTemplates:
    answer = form.answer
    if thinking or (thinking is None and form.reasons):
        answer = ""
    return TurnTemplates(
        first=form.first + answer,
        next=form.next + answer,
        optional=form.optional,
        defaults=form.defaults,
        trimmed=form.trimmed,
        reasoning=form.reasoning or (),
        breaks=("\n", "\n\n"),
    )
