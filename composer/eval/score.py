"""Count word and character errors, utterance by utterance, with their alignment."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from composer.eval.normalize import Normalizer


@dataclass(frozen=True)
class Counts:
    """Hits, substitutions, deletions and insertions between references and hypotheses."""

    hits: int = 0
    substitutions: int = 0
    deletions: int = 0
    insertions: int = 0

    @property
    def errors(self) -> int:
        return self.substitutions + self.deletions + self.insertions

    @property
    def total(self) -> int:
        """Return how many words or characters the references have."""
        return self.hits + self.substitutions + self.deletions

    @property
    def rate(self) -> float | None:
        """Return errors over the references' length; None where they have none."""
        return self.errors / self.total if self.total else None

    def within(self, percent: int) -> bool:
        """Tell whether the rate is at most so many percent; of no words, whether none were heard."""
        return 100 * self.errors <= percent * self.total

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.hits + other.hits,
            self.substitutions + other.substitutions,
            self.deletions + other.deletions,
            self.insertions + other.insertions,
        )


@dataclass(frozen=True)
class Span:
    """Words of the reference and of the hypothesis that stand against each other."""

    kind: str
    reference: tuple[str, ...]
    hypothesis: tuple[str, ...]


@dataclass(frozen=True)
class Score:
    """One utterance's errors in words and in characters, and how its words were aligned."""

    words: Counts
    characters: Counts
    spans: tuple[Span, ...]


def score(pairs: Iterable[tuple[str, str]], normalizer: Normalizer | None = None) -> list[Score]:
    """Align normalised references and hypotheses by jiwer, at equal cost of each kind of error.

    Words are what whitespace separates; characters include one space between words.
    """
    import jiwer

    words = [(reference.split(), hypothesis.split()) for reference, hypothesis in pairs]
    if not words:
        return []
    if normalizer and normalizer.pair:
        words = [(reference, normalizer.pair(reference, said)) for reference, said in words]
    references = [" ".join(reference) for reference, _ in words]
    hypotheses = [" ".join(said) for _, said in words]
    split = jiwer.Compose([jiwer.ReduceToListOfListOfWords()])
    spell = jiwer.Compose([jiwer.ReduceToListOfListOfChars()])
    by_word = jiwer.process_words(references, hypotheses, split, split).alignments
    by_character = jiwer.process_characters(references, hypotheses, spell, spell).alignments
    return [
        Score(_counts(chunks), _counts(letters), _spans(chunks, *pair))
        for chunks, letters, pair in zip(by_word, by_character, words, strict=True)
    ]


def total(counts: Iterable[Counts]) -> Counts:
    """Pool counts."""
    return sum(counts, Counts())


def _counts(chunks: Sequence[Any]) -> Counts:
    sizes = {"equal": 0, "substitute": 0, "delete": 0, "insert": 0}
    for chunk in chunks:
        wide = chunk.ref_end_idx - chunk.ref_start_idx
        sizes[chunk.type] += wide or chunk.hyp_end_idx - chunk.hyp_start_idx
    return Counts(*sizes.values())


def _spans(chunks: Sequence[Any], reference: list[str], said: list[str]) -> tuple[Span, ...]:
    return tuple(
        Span(
            chunk.type,
            tuple(reference[chunk.ref_start_idx : chunk.ref_end_idx]),
            tuple(said[chunk.hyp_start_idx : chunk.hyp_end_idx]),
        )
        for chunk in chunks
    )
