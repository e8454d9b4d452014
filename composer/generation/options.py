"""The options of `generate`, which are the same for every decoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Annotated, Any, ClassVar

from pydantic import Field

from composer.core.errors import ComposerError, Problem
from composer.core.suggest import listed
from composer.generation.answer import Request
from composer.generation.reasoning import ReasoningIds
from composer.generation.sampler import Sampling
from composer.generation.stop import LONGEST, MOST, StopRules
from composer.generation.text import Tokenizer

TEXT_ENDS = "text_ends"
GENERATED = {
    "text": "text",
    "ids": "i64 N",
    "finish_reason": "text",
    "logprobs": "f32 _",
    TEXT_ENDS: "i64 _",
}
TokenOrId = int | str
AdapterNames = Annotated[
    tuple[str, ...],
    Field(
        json_schema_extra={"uniqueItems": True},
        description="Adapters of the component that are on, by name.",
    ),
]
SIZE = {"minLength": 1, "maxLength": LONGEST}
_SAMPLES = {
    "properties": {"temperature": {"exclusiveMinimum": 0}},
    "required": ["temperature"],
}
_GREEDY = {"properties": {"top_p": {"const": 1}, "top_k": {"const": 0}, "min_p": {"const": 0}}}


@dataclass(frozen=True)
class GenerationOptions:
    """How a decoder continues a prompt; raise ComposerError if options contradict each other."""

    json_schema_rules: ClassVar[Mapping[str, Any]] = {"anyOf": [_SAMPLES, _GREEDY]}

    max_tokens: Annotated[
        int, Field(ge=1, le=1_000_000, description="The most tokens to generate.")
    ] = 256
    temperature: Annotated[float, Field(ge=0, le=100, description="0 is greedy.")] = 0.0
    top_p: Annotated[float, Field(gt=0, le=1, description="1 keeps every probability.")] = 1.0
    top_k: Annotated[int, Field(ge=0, description="0 keeps every token.")] = 0
    min_p: Annotated[
        float,
        Field(ge=0, le=1, description="Drops tokens below this part of the top probability."),
    ] = 0.0
    repetition_penalty: Annotated[
        float,
        Field(gt=0, le=100, description="Divides positive logits of tokens that were generated."),
    ] = 1.0
    presence_penalty: Annotated[
        float, Field(ge=-2, le=2, description="Lowers the logits of tokens that were generated.")
    ] = 0.0
    frequency_penalty: Annotated[
        float, Field(ge=-2, le=2, description="The same, once for each time that they were.")
    ] = 0.0
    no_repeat_ngram_size: Annotated[
        int,
        Field(ge=0, le=100, description="No run of so many generated tokens comes twice; 0: any."),
    ] = 0
    seed: Annotated[int, Field(ge=0, description="The same seed gives the same tokens.")] = 0
    stop: Annotated[
        tuple[TokenOrId, ...],
        Field(
            description="Ids, or tokens by their text, that stop generation like the model's own."
        ),
    ] = ()
    stop_text: Annotated[
        tuple[Annotated[str, Field(json_schema_extra=SIZE)], ...],
        Field(max_length=MOST, description="Texts that end the answer before where they stand."),
    ] = ()
    reasoning: Annotated[
        tuple[TokenOrId, TokenOrId] | None,
        Field(description="Two tokens: the text between them is left out of the answer."),
    ] = None
    reuse_cache: Annotated[
        bool,
        Field(description="Reuse the KV cache of the last run as far as the rows are the same."),
    ] = False
    logprobs: Annotated[
        bool, Field(description="Return the natural logarithm of each token's probability.")
    ] = False

    def __post_init__(self) -> None:
        assert self.sampling
        for text in self.stop_text:
            if not 0 < len(text) <= LONGEST:
                what = f"a text of stop_text has {len(text)} characters"
                raise ComposerError(Problem("R510", f"{what}; it must have 1 to {LONGEST}"))

    @cached_property
    def sampling(self) -> Sampling:
        """Return how tokens are chosen."""
        return Sampling(**{each.name: getattr(self, each.name) for each in fields(Sampling)})

    def request(
        self, prompt: Any, tokenizer: Tokenizer, stop: Set[int], vocabulary: int
    ) -> Request:
        """Return the request to continue a prompt as all these options say.

        `stop` ids end a text, and `vocabulary` ids exist. `reuse_cache` is left to a decoder that
        keeps a cache: it changes no answer. Raise ComposerError R516 or R565 for what is no token.
        """
        known = _KnownTokens(tokenizer, vocabulary)
        more = {known.id_of("R516", "stop", each) for each in self.stop}
        marks = None
        if self.reasoning:
            marks = ReasoningIds(
                *(known.id_of("R565", "reasoning", each) for each in self.reasoning)
            )
        return Request(
            prompt,
            self.sampling,
            StopRules(frozenset(stop | more), self.max_tokens),
            marks,
            self.stop_text,
            self.logprobs,
        )


@dataclass(frozen=True)
class _KnownTokens:
    """The tokens that an option may name: those of a tokenizer that the model has rows for."""

    tokenizer: Tokenizer
    vocabulary: int

    def id_of(self, code: str, option: str, token: TokenOrId) -> int:
        """Return the id of a token given as an id or as text."""
        found = self.tokenizer.token_to_id(token) if isinstance(token, str) else token
        if found is None or not 0 <= found < self.vocabulary:
            hint = "give one token, as an id or as its text in tokenizer.json"
            if option == "stop":
                hint += "; a text of several tokens goes under stop_text"
            message = f"{option} {token!r} is not a token of this model"
            raise ComposerError(Problem(code, message, hint=hint))
        return found


def validate_generation(method: str, options: Mapping[str, Any]) -> None:
    """Raise ComposerError if the options of one call contradict each other."""
    check_unique_adapters(options.get("adapters", ()))
    if method == "generate":
        GenerationOptions(**{each.name: options[each.name] for each in fields(GenerationOptions)})


def check_unique_adapters(names: Sequence[str]) -> None:
    """Raise ComposerError for an adapter that is named twice."""
    if len({*names}) < len(names):
        message = f"an adapter is switched on twice: {listed(names)}"
        raise ComposerError(Problem("R561", message, hint="its scale says how much it counts"))
