"""Turn prompts into text with one decoder, its tokenizer and its stop rules."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import replace
from typing import Any

import numpy as np

from composer.core.component import Token
from composer.core.errors import ComposerError, Problem
from composer.core.suggest import some
from composer.generation.decoder import CachedDecoder, DecoderInput
from composer.generation.options import GenerationOptions
from composer.generation.prefix_cache import PrefixCache
from composer.generation.scheduler import Scheduler
from composer.generation.text import Tokenizer


class TextGenerator:
    """Continue prompts: `rows` ids exist, `stop` ids end a text, `limit` is the context length.

    What is remembered of all sequences in flight takes at most `cache_gb`. Where logits are no
    numbers, `damage` names the weights that are none; it may take as long as reading them all.
    """

    def __init__(
        self,
        decoder: CachedDecoder,
        tokenizer: Tokenizer,
        rows: int,
        stop: frozenset[int],
        limit: int | None,
        cache_gb: float | None = None,
        damage: Callable[[], tuple[str, ...]] = tuple,
    ) -> None:
        self.decoder = decoder
        self.prefix_cache = PrefixCache(decoder)
        nbytes = int(cache_gb * 1e9) if cache_gb else None
        self.scheduler = Scheduler(self.prefix_cache, tokenizer, nbytes=nbytes)
        self.tokenizer = tokenizer
        self.rows = rows
        self.stop = stop
        self.limit = limit
        self.damage = damage

    def write(
        self, prompt: DecoderInput, options: GenerationOptions
    ) -> Generator[Token, None, dict[str, Any]]:
        """Continue until an end-of-text id, one of `stop`, or `max_tokens`.

        With `reuse_cache` the KV cache of the last prompt is reused as far as the rows agree. The
        call itself raises errors of the options; decoding starts with the first token.
        """
        budget = self._token_budget(len(prompt), options.max_tokens)
        prompt = replace(prompt, reuse_cache=options.reuse_cache)
        limited = replace(options, max_tokens=budget)
        request = limited.request(prompt, self.tokenizer, self.stop, self.rows)
        return self._with_cause(self.scheduler.generate(request))

    def _with_cause(
        self, answer: Generator[Token, bool | None, dict[str, Any]]
    ) -> Generator[Token, bool | None, dict[str, Any]]:
        try:
            return (yield from answer)
        except ComposerError as error:
            problems = list(error.problems)
            for at, problem in enumerate(problems):
                if problem.code == "R512" and not problem.causes:
                    problems[at] = replace(problem, causes=self.damage())
            raise ComposerError(problems) from error

    def replay(self, prompt: DecoderInput, ids: Any) -> Any:
        """Return the logits before each of ids [N], float32 [N, V], step by step as in decoding."""
        self.check_ids(ids)
        state = self.decoder.prefill(prompt)
        found = np.zeros((len(ids), self.rows), np.float32)
        for row, token in zip(found, ids.tolist(), strict=True):
            row[:] = self.decoder.logits(state)
            self.decoder.step([state], [token])
        return self.decoder.from_numpy(found)

    def check_ids(self, ids: Any) -> None:
        """Raise ComposerError unless all ids are in the vocabulary."""
        unknown = dict.fromkeys(each for each in ids.tolist() if not 0 <= each < self.rows)
        if unknown:
            raise ComposerError(
                Problem(
                    "R513",
                    f"ids {some(unknown)} are outside the vocabulary of {self.rows}",
                    hint="they come from another model's tokenizer, or from a fill",
                )
            )

    def _token_budget(self, rows: int, max_tokens: int) -> int:
        """Return how many tokens may follow within the model's context."""
        if self.limit is None:
            return max_tokens
        if rows >= self.limit:
            raise ComposerError(
                Problem(
                    "R514",
                    f"the prompt has {rows} positions, but the model's context is {self.limit}",
                    hint="cut the input into shorter pieces",
                )
            )
        return min(max_tokens, self.limit - rows)
