"""A prompt: a template filled with text and rows of soft embeddings, as token ids."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from pydantic import Field, field_validator, model_validator

from composer.core.call_signature import CALL, CallSignature
from composer.core.component import Component, ComponentConfig, Facts, Spec, method
from composer.core.errors import ComposerError, Place, Problem
from composer.core.ports import Port, parse_ports
from composer.core.suggest import did_you_mean
from composer.formats import tokenizer_bytes, tokenizer_file

from ..checkpoints.file_stamps import StampedFacts, require_unchanged, stamp_files
from .guarded_tokenizer import GuardedTokenizer
from .template import PATTERN, Part, Template, TemplateSlot
from .template_encoder import (
    TemplateEncoder,
    changed_token_warnings,
    check_fragments,
    check_template,
    check_text,
    empty_prompt_error,
    missing_first_token_warnings,
    unknown_token_warnings,
)

if TYPE_CHECKING:
    from composer.core.placement import Placement
    from composer.formats import Headers

FILLS, TEXT = parse_ports("text | _ _"), parse_ports("text")
SLOT_HINT = "an input is a slot: write {NAME} where it goes in the template"
BRACES_HINT = "an input is a slot: write {NAME}, not {{NAME}}, where it goes in the template"


class Prompt(Component, name="text.prompt"):
    """Token ids of a template whose slots are filled with text or with soft embeddings.

    Each `{name}` of the template is an input: a text, or rows [N, D] of soft embeddings, of which
    only the number matters here. `ids` are the tokens, `slots` marks those that soft rows replace
    (as many as there are rows, in the order of the template), and `text` is the prompt as text.
    The output of a slot's own name marks the positions of its rows alone; a slot that is called as
    another output has none.
    A slot of a fragment takes a list of rows too, and the fragment stands once for each of them.
    `{{` and `}}` are braces. A fragment under `optional` goes where the template names it, and is
    left out unless all its slots are filled: `optional: {forced: "language {language}<asr_text>"}`
    with `{forced}` in the template. A slot that only fragments have need not be wired.

    Special tokens come only from the template. The text of a slot is plain text, whatever it
    spells, and is tokenized together with adjacent text. No token is added: write `<bos>`.
    """

    requires = frozenset({"files"})

    class Config(ComponentConfig):
        """The template, and the token of soft rows."""

        template: str = Field(
            description="the prompt, with {name} where an input goes",
            json_schema_extra={"pattern": PATTERN},
        )
        slot: str | None = Field(
            None, description="token that stands for a soft row, such as <|audio_pad|>; else id 0"
        )
        optional: dict[str, str] = Field(
            default_factory=dict,
            description="named fragments, left out unless their slots are filled",
        )

        @field_validator("template")
        @classmethod
        def _check_template(cls, template: str) -> str:
            return check_template(template)

        @model_validator(mode="after")
        def _check_fragments(self) -> Self:
            Template.parse(self.template, self.optional)
            check_fragments(self.optional)
            return self

    def __init__(self, template: Template, tokenizer: GuardedTokenizer, slot: str | None) -> None:
        self.template = template
        self.encoder = TemplateEncoder(template, tokenizer)
        self.slot = slot
        self.slot_id = 0 if slot is None else tokenizer.id_of(slot)

    @classmethod
    def facts(cls, spec: Spec, headers: Headers | None) -> Facts:
        config: Prompt.Config = spec.config
        template = Template.parse(config.template, config.optional)
        signature = CallSignature(
            inputs=_inputs(template),
            returns=_outputs(template, cls.methods[CALL].returns),
            optional=frozenset(template.inputs) - template.required,
            repeated=frozenset(template.inputs) - template.required - _repeated(template),
        )
        if headers is None or spec.files is None:
            return Facts(
                methods={CALL: signature},
                input_hint=_input_hint(template),
                missing_reasons=_reasons(template),
            )
        info = headers.tokenizer(spec.files)
        added = info.added
        if config.slot is not None and config.slot not in added:
            message = f"the slot {config.slot!r} is not an added token of {spec.files}"
            suggestion = did_you_mean(config.slot, added)
            raise ComposerError(Problem("W253", message, Place("config.slot"), hint=suggestion))
        at = "config.template"
        notes = [
            *unknown_token_warnings(template, added, spec.files, at),
            *changed_token_warnings(template, info, spec.files, at),
            *missing_first_token_warnings(template, info, spec.files, at),
        ]
        file = tokenizer_file(spec.files, headers.files)
        return StampedFacts(
            methods={CALL: signature},
            input_hint=_input_hint(template),
            missing_reasons=_reasons(template),
            notes=tuple(notes),
            stamps=stamp_files([file]),
        )

    @classmethod
    def load(cls, spec: Spec, facts: Facts, placement: Placement) -> Self:
        config: Prompt.Config = spec.config
        assert spec.files is not None
        require_unchanged(facts)
        tokenizer = GuardedTokenizer(tokenizer_bytes(tokenizer_file(spec.files)), config.slot)
        return cls(Template.parse(config.template, config.optional), tokenizer, config.slot)

    @method(returns={"ids": "i64 T", "slots": "bool T", "text": "text"})
    def __call__(self, /, **values: Any) -> dict[str, Any]:
        rows: dict[str, list[int]] = {}
        texts: dict[str, str] = {}
        for name in self.template.inputs:
            value = values.get(name)
            if value is None or isinstance(value, str):
                texts[name] = check_text(name, value or "")
            else:
                several = value if isinstance(value, tuple) else (value,)
                rows[name] = [int(each.shape[0]) for each in several]
        filled = {name for name, content in texts.items() if content}
        filled |= {name for name, counts in rows.items() if any(counts)}
        times = {name: len(counts) for name, counts in rows.items()}
        parts = self.template.with_fragments(filled, times)
        soft = [part.name for part in parts if isinstance(part, TemplateSlot) and part.name in rows]
        for name in soft:
            if soft.count(name) > len(rows[name]):
                message = f"{{{name}}} occurs twice in the template, but its rows only once"
                raise ComposerError(Problem("R526", message, hint="only a text may occur twice"))
        found = np.array(self.encoder.ids(parts, texts), np.int64)
        counts = {name: iter(each) for name, each in rows.items()}
        ids, owners = self._expand(found, [next(counts[name]) for name in soft])
        if not len(ids):
            raise empty_prompt_error()
        marks = {name: np.zeros(len(ids), bool) for name in rows}
        for index, name in enumerate(soft):
            marks[name] |= owners == index
        text = self._display(parts, texts, rows)
        return {**marks, "ids": ids, "slots": owners >= 0, "text": text}

    def _expand(self, ids: np.ndarray, rows: list[int]) -> tuple[np.ndarray, np.ndarray]:
        """Repeat each soft slot once per row; return ids, and of each its slot's number or -1."""
        soft = ids < 0
        repeats = np.ones(len(ids), np.int64)
        repeats[soft] = rows
        owners = np.full(len(ids), -1)
        owners[soft] = np.arange(len(rows))
        return np.repeat(np.where(soft, self.slot_id, ids), repeats), np.repeat(owners, repeats)

    def _display(
        self, parts: tuple[Part, ...], texts: dict[str, str], rows: dict[str, list[int]]
    ) -> str:
        shown, counts = [], {name: iter(each) for name, each in rows.items()}
        for part in parts:
            if isinstance(part, str):
                shown.append(part)
            elif part.name in texts:
                shown.append(texts[part.name])
            else:
                shown.append(f"{self.slot or f'<{part.name}>'}×{next(counts[part.name])}")
        return "".join(shown)


def _inputs(template: Template) -> dict[str, tuple[Port, ...]]:
    """Return a prompt's inputs: rows have one place, so what occurs twice at once is a text."""
    return {name: TEXT if name in _repeated(template) else FILLS for name in template.inputs}


def _input_hint(template: Template) -> str:
    """Return how to write a slot; braces that are text may have been meant for one."""
    literals = (part for part in template.all_parts if isinstance(part, str))
    return BRACES_HINT if any("{" in each for each in literals) else SLOT_HINT


def _repeated(template: Template) -> set[str]:
    """Return the slots that occur twice at once."""
    found: set[str] = set()
    for parts in (template.parts, *template.fragments.values()):
        names = [part.name for part in parts if isinstance(part, TemplateSlot)]
        found.update(name for name in names if names.count(name) > 1)
    return found


def _reasons(template: Template) -> dict[str, str]:
    """Return why slots take no rows."""
    reason = "{%s} occurs twice in the template, and rows have one place: give each a name"
    return {name: reason % name for name in _repeated(template)}


def _outputs(template: Template, own: Mapping[str, Port]) -> dict[str, Port]:
    """Return a prompt's outputs, with marks for each slot."""
    marks = {"slots": replace(own["slots"], marks=template.inputs)}
    for name in template.inputs:
        if name not in own:
            marks[name] = replace(own["slots"], marks=(name,))
    return {"ids": own["ids"], **marks, "text": own["text"]}
