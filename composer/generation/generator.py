"""Turn prompts into text with one decoder, its tokenizer and its stop rules."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from composer.core.component import Token
from composer.core.errors import ComposerError, Problem
from composer.core.suggest import listed, some
from composer.generation.decoder import CachedDecoder, Prompt
from composer.generation.engine import Request, generate
from composer.generation.prefix_cache import PrefixCache
from composer.generation.reasoning import Marks
from composer.generation.sampler import Sampling
from composer.generation.stop import Stop
from composer.generation.text import Tokenizer

MaxTokens = Annotated[int, Field(ge=1, le=1_000_000)]
Temperature = Annotated[float, Field(ge=0, le=100)]
TopP = Annotated[float, Field(gt=0, le=1)]
TopK = Annotated[int, Field(ge=0)]
Seed = Annotated[int, Field(ge=0)]
Reasoning = tuple[int | str, int | str] | None


def validate_generation(method: str, options: Mapping[str, Any]) -> None:
    """Raise ComposerError where the options of one call of a decoder contradict each other."""
    once(options.get("adapters", ()))
    if method == "generate":
        Sampling(*(options[name] for name in ("temperature", "top_p", "top_k", "seed")))


def once(names: Sequence[str]) -> None:
    """Raise ComposerError for an adapter that is switched on twice."""
    if len({*names}) < len(names):
        message = f"an adapter is switched on twice: {listed(names)}"
        raise ComposerError(Problem("R561", message, hint="its scale says how much it counts"))


class TextGenerator:
    """Continue prompts; `rows` ids are known, `stop` end a text, `limit` positions are known."""

    def __init__(
        self,
        decoder: CachedDecoder,
        tokenizer: Tokenizer,
        rows: int,
        stop: frozenset[int],
        limit: int | None,
    ) -> None:
        self.decoder = decoder
        self.prefix_cache = PrefixCache(decoder)
        self.tokenizer = tokenizer
        self.rows = rows
        self.stop = stop
        self.limit = limit

    def write(
        self,
        prompt: Prompt,
        sampling: Sampling,
        max_tokens: int,
        stop: tuple[int | str, ...],
        reasoning: Reasoning = None,
        reuse_cache: bool = False,
    ) -> Generator[Token, None, dict[str, Any]]:
        """Continue until an end-of-text id, one of `stop`, or `max_tokens`.

        What stands between the two tokens of `reasoning` is no text. With `reuse_cache` the KV
        cache of the last prompt that was kept serves this one as far as their rows agree. The call
        itself raises what is wrong with the options; the work begins with the first token.
        """
        room = self.room(len(prompt), max_tokens)
        ends = Stop(self.stop | {self.id_of("R516", "stop", each) for each in stop}, room)
        marks = (
            Marks(*(self.id_of("R565", "reasoning", each) for each in reasoning))
            if reasoning
            else None
        )
        decoder = self.prefix_cache if reuse_cache else self.decoder
        return generate(decoder, self.tokenizer, Request(prompt, sampling, ends, marks))

    def replay(self, prompt: Prompt, ids: Any) -> Any:
        """Return the logits before each of ids [N], float32 [N, V], step by step as in decoding."""
        self.known(ids)
        state = self.decoder.prefill(prompt)
        found = np.zeros((len(ids), self.rows), np.float32)
        for row, token in zip(found, ids.tolist(), strict=True):
            row[:] = self.decoder.logits(state)
            self.decoder.step([state], [token])
        return self.decoder.given(found)

    def known(self, ids: Any) -> None:
        """Raise ComposerError unless all ids are in the vocabulary."""
        odd = dict.fromkeys(each for each in ids.tolist() if not 0 <= each < self.rows)
        if odd:
            raise ComposerError(
                Problem(
                    "R513",
                    f"ids {some(odd)} are outside the vocabulary of {self.rows}",
                    hint="they are of another model's tokenizer, or what a fill put there",
                )
            )

    def room(self, rows: int, max_tokens: int) -> int:
        """Return how many tokens may follow, within the positions that the model knows."""
        if self.limit is None:
            return max_tokens
        if rows >= self.limit:
            raise ComposerError(
                Problem(
                    "R514",
                    f"the prompt has {rows} positions, but the model knows {self.limit}",
                    hint="cut the input into shorter pieces",
                )
            )
        return min(max_tokens, self.limit - rows)

    def id_of(self, code: str, option: str, token: int | str) -> int:
        """Return the id of a token that an option gives as an id or by its text."""
        found = self.tokenizer.token_to_id(token) if isinstance(token, str) else token
        if found is None or not 0 <= found < self.rows:
            raise ComposerError(
                Problem(
                    code,
                    f"{option} {token!r} is no token of this model",
                    hint="give one token, as an id or as its text in tokenizer.json",
                )
            )
        return found
