"""A conversation as token ids: each turn is appended to all earlier turns and answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np

from composer.core.call_signature import CALL, CallSignature
from composer.core.component import Component, Facts, Spec, method
from composer.core.errors import Place, Problem
from composer.core.ports import parse_ports
from composer.core.problems import Problems
from composer.core.suggest import did_you_mean
from composer.formats import Headers, tokenizer_bytes, tokenizer_file
from composer.generation.reasoning import ReasoningIds, without_reasoning

from ..checkpoints.file_stamps import StampedFacts, require_unchanged, stamp_files
from .chat_config import ChatConfig
from .guarded_tokenizer import GuardedTokenizer
from .template import TemplateSlot
from .template_encoder import (
    TemplateEncoder,
    changed_token_warnings,
    check_text,
    empty_prompt_error,
    missing_first_token_warnings,
    unknown_token_warnings,
)
from .turns import TurnTemplates

if TYPE_CHECKING:
    from composer.core.placement import Placement


TEXT = parse_ports("text")
SLOT_HINT = "an input is a slot: write {NAME} where it goes in first or next"
NO_ROWS = "a conversation is remembered as ids, so its slots take no rows; those of text.prompt do"


class Chat(Component, name="text.chat"):
    """Token ids of a conversation with its next turn, and with the answer to it.

    The first turn fills the template `first`, every other one `next`, which begins with the end of
    the previous answer. Each `{name}` of the two is a text input, and `optional`
    fragments are those of text.prompt; inputs only in `first` are not read later. `ids` are the
    history and the tokens of the turn, `text` is the turn as text.

    The method `history` appends an answer. Its ids go into the next turn as they
    are and are never tokenized again, so that a KV cache of them stays valid. A
    model's `reasoning`, from one token to the other, is left out.

    In place of the two templates, `form` names one of the forms that are known as data:
    `form: checkpoint` is that of the chat template beside the tokenizer. Its inputs are `text` and,
    where it has one, `system`.

    Special tokens come only from the templates. The text of a slot is plain text, whatever it
    spells, and is tokenized together with adjacent text. No token is added: write `<bos>`.
    """

    requires = frozenset({"files"})

    Config = ChatConfig

    def __init__(self, turns: TurnTemplates, tokenizer: GuardedTokenizer) -> None:
        self.turns = turns
        self.first = TemplateEncoder(turns.templates["first"], tokenizer)
        self.next_turn = TemplateEncoder(turns.templates["next"], tokenizer)
        self.reasoning = None
        if turns.reasoning:
            self.reasoning = ReasoningIds(*map(tokenizer.id_of, turns.reasoning))
        self.breaks = set()
        for text in turns.breaks:
            ids = tokenizer.encode(text)
            if len(ids) == 1:
                self.breaks.add(ids[0])

    @classmethod
    def facts(cls, spec: Spec, headers: Headers | None) -> Facts:
        config: ChatConfig = spec.config
        turns = config.turns(spec, headers)
        if turns is None:
            return Facts(unknown=True)
        templates = turns.templates
        names: dict[str, None] = {}
        required: set[str] = set()
        for template in templates.values():
            names |= dict.fromkeys(template.inputs)
            required |= template.required
        call = cls.methods[CALL]
        methods = {
            **cls.methods,
            CALL: CallSignature(
                inputs={**dict.fromkeys(names, TEXT), **call.inputs},
                returns=call.returns,
                optional=call.optional | (names.keys() - required) | turns.defaults.keys(),
            ),
        }
        known = Facts(
            methods=methods,
            input_hint="" if config.form else SLOT_HINT,
            missing_reasons=dict.fromkeys(names, NO_ROWS),
        )
        if headers is None or spec.files is None:
            return known
        added = headers.tokenizer(spec.files).added
        problems = Problems(place=Place(config.key_of("reasoning")))
        for token in turns.reasoning:
            if token not in added:
                message = f"{token!r} of reasoning is not an added token of {spec.files}"
                problems.report("W296", message, hint=did_you_mean(token, added))
        problems.raise_any()
        notes: list[Problem] = []
        for name, template in templates.items():
            place = config.key_of(name)
            notes += unknown_token_warnings(template, added, spec.files, place)
            notes += changed_token_warnings(
                template, headers.tokenizer(spec.files), spec.files, place
            )
            if name == "first" and config.form is None:
                notes += missing_first_token_warnings(
                    template, headers.tokenizer(spec.files), spec.files, place
                )
        file = tokenizer_file(spec.files, headers.files)
        return StampedFacts(
            methods=methods,
            input_hint=known.input_hint,
            missing_reasons=known.missing_reasons,
            notes=tuple(notes),
            stamps=stamp_files([file]),
        )

    @classmethod
    def load(cls, spec: Spec, facts: Facts, placement: Placement) -> Self:
        config: ChatConfig = spec.config
        assert spec.files is not None
        require_unchanged(facts)
        tokenizer = GuardedTokenizer(tokenizer_bytes(tokenizer_file(spec.files)))
        turns = config.turns(spec, Headers())
        assert turns is not None
        return cls(turns, tokenizer)

    @method(history="i64 H", returns={"ids": "i64 T", "text": "text"})
    def __call__(self, /, history: Any = None, **texts: str | None) -> dict[str, Any]:
        history_ids = np.zeros(0, np.int64) if history is None else history
        encoder = self.next_turn if len(history_ids) else self.first
        texts_by_slot = {}
        for name in encoder.template.inputs:
            texts_by_slot[name] = check_text(name, self.turns.text(name, texts.get(name)))
        filled = {name for name, text in texts_by_slot.items() if text}
        parts = encoder.template.with_fragments(filled)
        ids = encoder.ids(parts, texts_by_slot)
        if not ids:
            raise empty_prompt_error()
        text = ""
        for part in parts:
            text += texts_by_slot[part.name] if isinstance(part, TemplateSlot) else part
        return {"ids": np.concatenate([history_ids, np.array(ids, np.int64)]), "text": text}

    def answer_ids(self, text: str) -> np.ndarray:
        """Return the ids [N] of an answer that was written elsewhere, as plain text."""
        found = self.next_turn.ids(
            (TemplateSlot("answer"),), {"answer": check_text("answer", text)}
        )
        return np.array(found, np.int64)

    @method(asked="i64 T", answer="i64 N", returns="i64 H")
    def history(self, asked: Any, answer: Any) -> Any:
        """Return the conversation so far, without reasoning."""
        if not self.breaks:
            kept = without_reasoning(answer.tolist(), self.reasoning)
            return np.concatenate([asked, np.array(kept, np.int64)])
        ids = [*asked.tolist(), *answer.tolist()]
        return np.array(without_reasoning(ids, self.reasoning, self.breaks), np.int64)
