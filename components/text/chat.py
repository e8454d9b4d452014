"""A conversation as token ids: each turn is appended to all earlier turns and answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from pydantic import Field, field_validator, model_validator

from composer.core.component import Component, ComponentConfig, Facts, Spec, method
from composer.core.errors import ComposerError, Place, Problem
from composer.core.ports import parse_ports
from composer.core.signature import CALL, Signature
from composer.core.suggest import did_you_mean
from composer.formats import tokenizer_bytes, tokenizer_file
from composer.generation.reasoning import Marks, without_reasoning

from ..checkpoints.file_stamps import StampedFacts, require_unchanged, stamps
from .guarded_tokenizer import GuardedTokenizer
from .template import PATTERN_WITH_SLOT, Slot, Template, parse_template, slots
from .template_encoder import (
    TemplateEncoder,
    check_fragments,
    check_template,
    check_text,
    empty_prompt,
    unknown_tokens,
)

if TYPE_CHECKING:
    from composer.core.placement import Placement
    from composer.formats import Headers

HISTORY = "history"
TEXT = parse_ports("text")


class Chat(Component, name="text.chat"):
    """Token ids of a conversation with its next turn, and with the answer to it.

    The first turn fills the template `first`, every other one `next`, which begins with the end of
    the previous answer. Each `{name}` of the two is a text input, and `optional`
    fragments are those of text.prompt; inputs only in `first` are not read later. `ids` are the
    history and the tokens of the turn, `text` is the turn as text.

    The method `history` appends an answer. Its ids go into the next turn as they
    are and are never tokenized again, so that a KV cache of them stays valid. A
    model's `reasoning`, from one token to the other, is left out.

    Special tokens come only from the templates. The text of a slot is plain text, whatever it
    spells, and is tokenized together with adjacent text. No token is added: write `<bos>`.
    """

    requires = frozenset({"files"})

    class Config(ComponentConfig):
        """The two templates, and the marks of reasoning."""

        first: str = Field(
            description="the first turn, with {name} where an input goes",
            json_schema_extra={"pattern": PATTERN_WITH_SLOT},
        )
        next: str = Field(
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
        def _check_template(cls, template: str) -> str:
            return check_template(template)

        @field_validator("reasoning")
        @classmethod
        def _check_reasoning(cls, reasoning: list[str] | None) -> list[str] | None:
            if reasoning is not None and len(reasoning) != 2:
                wanted = "give two tokens, one that opens and one that closes"
                raise ValueError(f"{wanted}, not {len(reasoning)}")
            return reasoning

        @model_validator(mode="after")
        def _check_fragments(self) -> Self:
            check_fragments(self.optional)
            for name, template in self.templates.items():
                if not template.inputs:
                    raise ValueError(f"'{name}' has no slot: every turn would be the same")
                if HISTORY in template.inputs:
                    raise ValueError(f"{{{HISTORY}}} is the conversation so far: rename the slot")
            named = slots(parse_template(self.first)) + slots(parse_template(self.next))
            for name in self.optional.keys() - set(named):
                raise ValueError(f"no template has {{{name}}} for the optional '{name}'")
            return self

        @property
        def templates(self) -> Mapping[str, Template]:
            """Both templates by name, each with its fragments."""
            found = {}
            for name, text in (("first", self.first), ("next", self.next)):
                named = slots(parse_template(text))
                fragments = {key: self.optional[key] for key in self.optional if key in named}
                found[name] = Template.parse(text, fragments)
            return found

    def __init__(
        self, first: TemplateEncoder, next_turn: TemplateEncoder, reasoning: Marks | None
    ) -> None:
        self.first = first
        self.next_turn = next_turn
        self.reasoning = reasoning

    @classmethod
    def facts(cls, spec: Spec, headers: Headers | None) -> Facts:
        config: Chat.Config = spec.config
        templates = config.templates
        names = dict.fromkeys(name for t in templates.values() for name in t.inputs)
        required = frozenset().union(*(t.required for t in templates.values()))
        call = cls.methods[CALL]
        methods = {
            **cls.methods,
            CALL: Signature(
                inputs={**dict.fromkeys(names, TEXT), **call.inputs},
                returns=call.returns,
                optional=call.optional | (names.keys() - required),
            ),
        }
        if headers is None or spec.files is None:
            return Facts(methods=methods)
        added = headers.tokenizer(spec.files).added
        problems = [
            Problem(
                "W296",
                f"{token!r} of reasoning is not an added token of {spec.files}",
                Place("config.reasoning"),
                hint=did_you_mean(token, added),
            )
            for token in config.reasoning or ()
            if token not in added
        ]
        if problems:
            raise ComposerError(problems)
        notes: list[Problem] = []
        for name, template in templates.items():
            notes += unknown_tokens(template, added, spec.files, f"config.{name}")
        file = tokenizer_file(spec.files, headers.files)
        return StampedFacts(methods=methods, notes=tuple(notes), stamps=stamps([file]))

    @classmethod
    def load(cls, spec: Spec, facts: Facts, placement: Placement) -> Self:
        config: Chat.Config = spec.config
        assert spec.files is not None
        require_unchanged(facts)
        tokenizer = GuardedTokenizer(tokenizer_bytes(tokenizer_file(spec.files)))
        first, next_turn = (TemplateEncoder(t, tokenizer) for t in config.templates.values())
        marks = Marks(*map(tokenizer.id_of, config.reasoning)) if config.reasoning else None
        return cls(first, next_turn, marks)

    @method(history="i64 H", returns={"ids": "i64 T", "text": "text"})
    def __call__(self, /, history: Any = None, **texts: str | None) -> dict[str, Any]:
        history_ids = np.zeros(0, np.int64) if history is None else history
        encoder = self.next_turn if len(history_ids) else self.first
        texts_by_slot = {
            name: check_text(name, texts.get(name) or "") for name in encoder.template.inputs
        }
        parts = encoder.template.with_fragments(
            {name for name, text in texts_by_slot.items() if text}
        )
        ids = encoder.ids(parts, texts_by_slot)
        if not ids:
            raise empty_prompt()
        text = "".join(texts_by_slot[p.name] if isinstance(p, Slot) else p for p in parts)
        return {"ids": np.concatenate([history_ids, np.array(ids, np.int64)]), "text": text}

    @method(asked="i64 T", answer="i64 N", returns="i64 H")
    def history(self, asked: Any, answer: Any) -> Any:
        """Return the conversation so far, with the answer without its reasoning."""
        answer_ids = without_reasoning(answer.tolist(), self.reasoning)
        return np.concatenate([asked, np.array(answer_ids, np.int64)])
