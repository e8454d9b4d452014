"""Compute error rates from clips, transcripts and a normaliser."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from composer.core.errors import ComposerError, Place, Problem
from composer.core.suggest import group_lines
from composer.evaluation.bootstrap import (
    ConfidenceInterval,
    PairedDifference,
    bootstrap_interval,
    paired_bootstrap,
)
from composer.evaluation.journal import ResultsFile, Transcript
from composer.evaluation.normalizer import Normalizer
from composer.evaluation.score import ErrorCounts, Score, score, sum_counts
from composer.evaluation.utterance import Utterance

if TYPE_CHECKING:
    from composer.evaluation.timing import Speed


@dataclass(frozen=True)
class ScoredClip:
    """A clip, its transcript and its errors."""

    clip: Utterance
    transcript: Transcript
    score: Score


@dataclass(frozen=True)
class EvaluationComparison:
    """Another system on the same utterances, with its own `wer`."""

    path: str
    made_by: Mapping[str, Any]
    wer: float
    words: PairedDifference


@dataclass(frozen=True)
class Evaluation:
    """A bundle's errors on some data, with their provenance.

    `failed` are clips without a hypothesis, `left_out` references that the normaliser's source
    does not score: neither is in any rate.
    """

    data: str
    made_by: Mapping[str, Any]
    normalizer: Normalizer
    scored: Sequence[ScoredClip]
    failed: Sequence[Transcript]
    left_out: Sequence[str]
    speed: Speed
    against: EvaluationComparison | None = None

    @cached_property
    def words_by_clip(self) -> list[ErrorCounts]:
        """Return the word errors of each scored utterance."""
        return [each.score.words for each in self.scored]

    @cached_property
    def _characters_by_clip(self) -> list[ErrorCounts]:
        """Return the character errors of each scored utterance."""
        return [each.score.characters for each in self.scored]

    @cached_property
    def words(self) -> ErrorCounts:
        return sum_counts(self.words_by_clip)

    @cached_property
    def characters(self) -> ErrorCounts:
        return sum_counts(self._characters_by_clip)

    @cached_property
    def wer(self) -> ConfidenceInterval | None:
        """Return the interval of the word error rate."""
        return bootstrap_interval(*_arrays(self.words_by_clip))

    @cached_property
    def cer(self) -> ConfidenceInterval | None:
        """Return the interval of the character error rate."""
        return bootstrap_interval(*_arrays(self._characters_by_clip))

    @cached_property
    def with_failed(self) -> ErrorCounts:
        """Return the word errors with failed clips counted as empty hypotheses."""
        missing = score([(self.normalizer(each.reference), "") for each in self.failed])
        return sum_counts([self.words, *(each.words for each in missing)])

    def within(self, percent: int) -> int:
        """Count the utterances whose word error rate is at most so many percent."""
        return sum(counts.within(percent) for counts in self.words_by_clip)

    @property
    def empty_references(self) -> int:
        return sum(not counts.total for counts in self.words_by_clip)

    @property
    def empty_hypotheses(self) -> int:
        return sum(not counts.hypothesis_total for counts in self.words_by_clip)

    @property
    def cut_short(self) -> int:
        """Count the utterances at whose end the decoder reached its limit of tokens."""
        return sum(each.transcript.finish_reason == "length" for each in self.scored)

    @property
    def suspicious(self) -> int:
        """Count the utterances whose text is probably made up, or wants a second look."""
        return sum(bool(each.transcript.suspicious) for each in self.scored)

    def groups(self, field: str) -> dict[str, list[ScoredClip]]:
        """Group the scored utterances by a field of the data's lines."""
        found: dict[str, list[ScoredClip]] = {}
        for each in self.scored:
            found.setdefault(each.clip.fields.get(field, ""), []).append(each)
        return found

    def digest(self) -> str:
        """Return a digest of the utterances: ids, references and the bytes of their files."""
        transcripts = [*(each.transcript for each in self.scored), *self.failed]
        rows = [(each.id, each.sha256, each.reference) for each in transcripts]
        return f"sha256:{hashlib.sha256(repr(sorted(rows, key=repr)).encode()).hexdigest()}"


def evaluate(
    data: Path,
    made_by: Mapping[str, Any],
    clips: Sequence[Utterance],
    transcripts: Mapping[str, Transcript],
    normalizer: Normalizer,
    speed: Speed,
) -> Evaluation:
    """Score transcripts."""
    kept, pairs = [], []
    failed, left_out = [], []
    for clip in clips:
        each = transcripts[clip.id]
        if each.hypothesis is None:
            failed.append(each)
            continue
        reference = normalizer(clip.reference, clip.fields)
        if normalizer.unscored(reference):
            left_out.append(clip.id)
            continue
        kept.append((clip, each))
        pairs.append((reference, normalizer(each.hypothesis, clip.fields)))
    scores = score(pairs, normalizer)
    scored = [ScoredClip(*both, found) for both, found in zip(kept, scores, strict=True)]
    return Evaluation(str(data), made_by, normalizer, scored, failed, left_out, speed)


def require_words(clips: Sequence[Utterance], normalizer: Normalizer, data: Path) -> None:
    """Raise R572 if no reference has a scored word."""
    for clip in clips:
        reference = normalizer(clip.reference, clip.fields)
        if reference.strip() and not normalizer.unscored(reference):
            return
    message = f"no reference has a word after normalization by {normalizer}"
    raise ComposerError(Problem("R572", message, Place(str(data))))


def require_same_clips(clips: Sequence[Utterance], other: ResultsFile, path: Path) -> None:
    """Raise R574 unless other results are of these utterances: ids and references."""
    there = dict(other.transcripts)
    only_here, changed = [], []
    for clip in clips:
        transcript = there.pop(clip.id, None)
        if transcript is None:
            only_here.append(clip.id)
        elif transcript.reference != clip.reference:
            changed.append(clip.id)
    causes = group_lines(
        {"only here": only_here, "only there": list(there), "with another reference": changed}
    )
    if causes:
        _refuse(path, causes)


def compare(ours: Evaluation, other: ResultsFile, path: Path) -> EvaluationComparison:
    """Compare an evaluation with other results, scored alike, by a paired bootstrap.

    Raise R574 if a clip's file differs, or a clip failed on either side.
    """
    rule = ours.normalizer
    changed, pairs = [], []
    failed = [each.id for each in ours.failed]
    for each in ours.scored:
        theirs = other.transcripts[each.transcript.id]
        if each.transcript.sha256 != theirs.sha256:
            changed.append(theirs.id)
        if theirs.hypothesis is None:
            failed.append(theirs.id)
        fields = each.clip.fields
        hypothesis = rule(theirs.hypothesis or "", fields)
        pairs.append((rule(each.clip.reference, fields), hypothesis))
    causes = group_lines({"of other audio": changed, "failed here or there": failed})
    if causes:
        _refuse(path, causes)
    other_counts = [each.words for each in score(pairs, rule)]
    errors, sizes = _arrays(ours.words_by_clip)
    others, _ = _arrays(other_counts)
    return EvaluationComparison(
        str(path),
        other.made_by,
        sum_counts(other_counts).rate or 0.0,
        paired_bootstrap(errors, others, sizes),
    )


def _refuse(path: Path, causes: Sequence[str]) -> None:
    message = "the two results are not of the same utterances and cannot be paired"
    hint = "evaluate both bundles on the same data, without failures"
    raise ComposerError(Problem("R574", message, Place(str(path)), tuple(causes), hint))


def _arrays(counts: Sequence[ErrorCounts]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([c.errors for c in counts], int), np.array([c.total for c in counts], int)
