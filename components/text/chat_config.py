"""What an author says of a conversation: its two templates, or the name of a known form."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from pydantic import ConfigDict, Field, field_validator, model_validator

from composer.core.component import ComponentConfig, Spec, exactly_one

from .chat_forms import FORMS, FormName
from .template import PATTERN_WITH_SLOT, parse_template, slot_names
from .template_encoder import check_fragments, check_template
from .turns import TurnTemplates, form_templates

if TYPE_CHECKING:
    from composer.formats import Headers

HISTORY = "history"


class ChatConfig(ComponentConfig):
    """The two templates and the marks of reasoning, or a form."""

    model_config = ConfigDict(
        json_schema_extra={
            **exactly_one("form", "first"),
            "dependentRequired": {
                "first": ["next"],
                "next": ["first"],
                "optional": ["first"],
                "reasoning": ["first"],
                "thinking": ["form"],
            },
        }
    )

    form: FormName | None = Field(
        None,
        description="in place of first and next: `checkpoint` for that of the files' chat "
        "template, which is compared with the known ones and never run, or one of these",
    )
    thinking: bool | None = Field(
        None,
        description="of a form: false closes the reasoning before it begins; default: as "
        "transformers",
    )
    first: str | None = Field(
        None,
        description="the first turn, with {name} where an input goes",
        json_schema_extra={"pattern": PATTERN_WITH_SLOT},
    )
    next: str | None = Field(
        None,
        description="every other turn, from the token that ends an answer",
        json_schema_extra={"pattern": PATTERN_WITH_SLOT},
    )
    optional: dict[str, str] = Field(
        default_factory=dict,
        description="named fragments of either, left out unless their slots are filled",
    )
    reasoning: list[str] | None = Field(
        None,
        description="two tokens, such as <|channel> and <channel|>: an answer's text from "
        "one to the other is left out of the history",
        json_schema_extra={"minItems": 2, "maxItems": 2},
    )

    @field_validator("first", "next")
    @classmethod
    def _check_template(cls, template: str | None) -> str | None:
        if template is None:
            return None
        return check_template(template)

    @field_validator("reasoning")
    @classmethod
    def _check_reasoning(cls, reasoning: list[str] | None) -> list[str] | None:
        if reasoning is not None and len(reasoning) != 2:
            wanted = "give two tokens, one that opens and one that closes"
            raise ValueError(f"{wanted}, not {len(reasoning)}")
        return reasoning

    @model_validator(mode="after")
    def _check_turns(self) -> Self:
        if self.form is None:
            self._check_own()
            return self
        for name in ("first", "next", "optional", "reasoning"):
            if name in self.model_fields_set:
                raise ValueError(f"the form has its own '{name}': give one of the two")
        form = FORMS.get(self.form)
        if form and self.thinking is not None and not form.answer:
            raise ValueError(f"the form {self.form} knows no thinking")
        if form and self.thinking and not form.reasons:
            raise ValueError(f"the form {self.form} is known without thinking alone")
        return self

    def _check_own(self) -> None:
        for name in ("first", "next"):
            if getattr(self, name) is None:
                raise ValueError(f"'{name}' is missing: give first and next, or a form")
        if self.thinking is not None:
            raise ValueError("thinking belongs to a form, which is not given")
        check_fragments(self.optional)
        turns = self.own
        for name, template in turns.templates.items():
            if not template.inputs:
                raise ValueError(f"'{name}' has no slot: every turn would be the same")
            if HISTORY in template.inputs:
                raise ValueError(f"{{{HISTORY}}} is the conversation so far: rename the slot")
        named = slot_names(parse_template(turns.first)) + slot_names(parse_template(turns.next))
        for name in self.optional.keys() - set(named):
            raise ValueError(f"no template has {{{name}}} for the optional '{name}'")

    def key_of(self, name: str) -> str:
        """Return the key of the config that says a part of the turns: of a form, the form's."""
        return f"config.{name}" if self.form is None else "config.form"

    @property
    def own(self) -> TurnTemplates:
        """The turns that the author has written."""
        return TurnTemplates(
            self.first or "",
            self.next or "",
            self.optional,
            reasoning=tuple(self.reasoning or ()),
        )

    def turns(self, spec: Spec, headers: Headers | None) -> TurnTemplates | None:
        """Return the author's turns or the form's; None if its checkpoint is not here."""
        if self.form is None:
            return self.own
        return form_templates(self.form, self.thinking, spec.files, headers)
