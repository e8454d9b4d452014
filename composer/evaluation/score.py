"""Count word and character errors per utterance, with their alignment."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from composer.evaluation.alignment import AlignedWords, Spans

if TYPE_CHECKING:
    from composer.evaluation.normalizer import Normalizer


@dataclass(frozen=True)
class ErrorCounts:
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
        """Return the number of words or characters in the references."""
        return self.hits + self.substitutions + self.deletions

    @property
    def hypothesis_total(self) -> int:
        """Return the number in the hypotheses; a compound counts as its words in the reference."""
        return self.hits + self.substitutions + self.insertions

    @property
    def rate(self) -> float | None:
        """Return errors over the references' length, or None if they are empty."""
        if not self.total:
            return None
        return self.errors / self.total

    def within(self, percent: int) -> bool:
        """Return whether errors are at most so many percent of the reference's length."""
        return 100 * self.errors <= percent * self.total

    def __add__(self, other: ErrorCounts) -> ErrorCounts:
        return ErrorCounts(
            self.hits + other.hits,
            self.substitutions + other.substitutions,
            self.deletions + other.deletions,
            self.insertions + other.insertions,
        )


@dataclass(frozen=True)
class Score:
    """One utterance's errors in words and in characters, and the alignment of its words."""

    words: ErrorCounts
    characters: ErrorCounts
    spans: Spans


def score(pairs: Iterable[tuple[str, str]], normalizer: Normalizer | None = None) -> list[Score]:
    """Align normalised references and hypotheses, at equal cost of each kind of error.

    jiwer aligns, except for words if the normaliser aligns them itself. Words are separated by
    whitespace; characters include one space between words.
    """
    import jiwer

    words, references, hypotheses = [], [], []
    for reference, hypothesis in pairs:
        words.append((reference.split(), hypothesis.split()))
        references.append(" ".join(reference.split()))
        hypotheses.append(" ".join(hypothesis.split()))
    if not words:
        return []
    spell = jiwer.Compose([jiwer.ReduceToListOfListOfChars()])
    letters = jiwer.process_characters(references, hypotheses, spell, spell)
    if normalizer and normalizer.align:
        spans = [normalizer.align(*pair) for pair in words]
    else:
        split = jiwer.Compose([jiwer.ReduceToListOfListOfWords()])
        chunks = jiwer.process_words(references, hypotheses, split, split).alignments
        spans = [_spans(each, *pair) for each, pair in zip(chunks, words, strict=True)]
    scores = []
    for of_words, each, *pair in zip(
        spans, letters.alignments, references, hypotheses, strict=True
    ):
        characters = _counts(_spans(each, *pair))
        scores.append(Score(_counts(of_words), characters, of_words))
    return scores


def sum_counts(counts: Iterable[ErrorCounts]) -> ErrorCounts:
    """Pool counts."""
    return sum(counts, ErrorCounts())


def _counts(spans: Iterable[AlignedWords]) -> ErrorCounts:
    sizes = {"equal": 0, "substitute": 0, "delete": 0, "insert": 0}
    for span in spans:
        sizes[span.kind] += len(span.reference) or len(span.hypothesis)
    return ErrorCounts(*sizes.values())


def _spans(chunks: Sequence[Any], reference: Sequence[str], hypothesis: Sequence[str]) -> Spans:
    found = []
    for chunk in chunks:
        found.append(
            AlignedWords(
                chunk.type,
                tuple(reference[chunk.ref_start_idx : chunk.ref_end_idx]),
                tuple(hypothesis[chunk.hyp_start_idx : chunk.hyp_end_idx]),
            )
        )
    return tuple(found)
