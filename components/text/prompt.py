"""A prompt: a template, filled with text and with rows of soft embeddings, as token ids."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np
from pydantic import Field, field_validator, model_validator

from composer.core.component import Component, ComponentConfig, Facts, Spec, method
from composer.core.errors import ComposerError, Place, Problem
from composer.core.ports import parse_ports
from composer.core.signature import CALL, Signature
from composer.core.suggest import did_you_mean
from composer.formats import tokenizer_bytes, tokenizer_file

from ..checkpoints.stamps import StampedFacts, require_unchanged, stamps
from .filling import Filling, checked, empty, plain, sound, sound_fragments
from .guarded import GuardedTokenizer
from .template import Part, Slot, Template

if TYPE_CHECKING:
    from composer.core.placement import Placement
    from composer.formats import Headers

FILLS = parse_ports("text | _ _")


class Prompt(Component, name="text.prompt"):
    """Token ids of a template whose slots are filled with text or with soft embeddings.

    Each `{name}` of the template is an input: a text, or rows [N, D] of soft embeddings, of which
    only the number matters here. `ids` are the tokens, `slots` marks those that soft rows replace
    (as many as there are rows, in the order of the template), and `text` is the prompt to be read.
    `{{` and `}}` are braces. A fragment under `optional` stands where the template names it, and is
    left out unless all its slots are filled: `optional: {forced: "language {language}<asr_text>"}`
    with `{forced}` in the template. A slot that only fragments have need not be wired.

    Special tokens are taken from the template alone. What fills a slot is plain text, whatever it
    spells, and is tokenized together with the text beside it. No token is added: write `<bos>`.
    """

    requires = frozenset({"files"})

    class Config(ComponentConfig):
        """The template, and what stands for soft rows."""

        template: str = Field(description="the prompt, with {name} where an input goes")
        slot: str | None = Field(
            None, description="token that stands for a soft row, such as <|audio_pad|>; else id 0"
        )
        optional: dict[str, str] = Field(
            default_factory=dict,
            description="named fragments, left out unless their slots are filled",
        )

        @field_validator("template")
        @classmethod
        def _sound(cls, template: str) -> str:
            return sound(template)

        @model_validator(mode="after")
        def _whole(self) -> Self:
            Template.parse(self.template, self.optional)
            sound_fragments(self.optional)
            return self

    def __init__(self, template: Template, tokenizer: GuardedTokenizer, slot: str | None) -> None:
        self.template = template
        self.filling = Filling(template, tokenizer)
        self.slot = slot
        self.slot_id = 0 if slot is None else tokenizer.id_of(slot)

    @classmethod
    def facts(cls, spec: Spec, headers: Headers | None) -> Facts:
        config: Prompt.Config = spec.config
        template = Template.parse(config.template, config.optional)
        signature = Signature(
            inputs=dict.fromkeys(template.inputs, FILLS),
            returns=cls.methods[CALL].returns,
            optional=frozenset(template.inputs) - template.required,
        )
        if headers is None or spec.files is None:
            return Facts(methods={CALL: signature})
        added = headers.tokenizer(spec.files).added
        if config.slot is not None and config.slot not in added:
            message = f"the slot {config.slot!r} is no added token of {spec.files}"
            near = did_you_mean(config.slot, added)
            raise ComposerError(Problem("W253", message, Place("config.slot"), hint=near))
        notes = plain(template, added, spec.files, "config.template")
        file = tokenizer_file(spec.files, headers.files)
        return StampedFacts(methods={CALL: signature}, notes=tuple(notes), stamps=stamps([file]))

    @classmethod
    def load(cls, spec: Spec, facts: Facts, placement: Placement) -> Self:
        config: Prompt.Config = spec.config
        assert spec.files is not None
        require_unchanged(facts)
        tokenizer = GuardedTokenizer(tokenizer_bytes(tokenizer_file(spec.files)))
        return cls(Template.parse(config.template, config.optional), tokenizer, config.slot)

    @method(returns={"ids": "i64 T", "slots": "bool T", "text": "text"})
    def __call__(self, /, **values: Any) -> dict[str, Any]:
        rows: dict[str, int] = {}
        texts: dict[str, str] = {}
        for name in self.template.inputs:
            value = values.get(name)
            if value is None or isinstance(value, str):
                texts[name] = checked(name, value or "")
            else:
                rows[name] = int(value.shape[0])
        filled = {name for name, size in rows.items() if size}
        filled |= {name for name, text in texts.items() if text}
        parts = self.template.filled(filled)
        soft = [part.name for part in parts if isinstance(part, Slot) and part.name in rows]
        for name in soft:
            if soft.count(name) > 1:
                message = f"{{{name}}} stands twice in the template, but its rows come once"
                raise ComposerError(Problem("R526", message, hint="only a text may stand twice"))
        ids, slots = self._expand(self.filling.ids(parts, texts), [rows[name] for name in soft])
        if not len(ids):
            raise empty()
        return {"ids": ids, "slots": slots, "text": self._display(parts, texts, rows)}

    def _expand(self, ids: list[int], rows: list[int]) -> tuple[np.ndarray, np.ndarray]:
        """Repeat each mark of a soft slot as often as it has rows."""
        found = np.array(ids, np.int64)
        soft = found < 0
        times = np.ones(len(found), np.int64)
        times[soft] = rows
        return np.repeat(np.where(soft, self.slot_id, found), times), np.repeat(soft, times)

    def _display(self, parts: tuple[Part, ...], texts: dict[str, str], rows: dict[str, int]) -> str:
        return "".join(
            part
            if isinstance(part, str)
            else texts[part.name]
            if part.name in texts
            else f"{self.slot or f'<{part.name}>'}×{rows[part.name]}"
            for part in parts
        )
