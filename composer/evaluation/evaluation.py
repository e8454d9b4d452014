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
from composer.core.suggest import listed
from composer.evaluation.bootstrap import Interval, Paired, interval, paired
from composer.evaluation.journal import Results, Transcript
from composer.evaluation.normalizer import Normalizer
from composer.evaluation.score import Counts, Score, score, total
from composer.evaluation.utterance import Utterance

if TYPE_CHECKING:
    from composer.evaluation.pace import Speed


@dataclass(frozen=True)
class Scored:
    """A clip, its transcript and its errors."""

    clip: Utterance
    transcript: Transcript
    score: Score


@dataclass(frozen=True)
class Comparison:
    """Another system on the same utterances, with its own `wer`."""

    path: str
    made_by: Mapping[str, Any]
    wer: float
    words: Paired


@dataclass(frozen=True)
class Evaluation:
    """A bundle's errors on some data, with their provenance.

    `failed` are clips without a hypothesis, `left_out` references that the normaliser's source
    does not score: neither is in any rate.
    """

    data: str
    made_by: Mapping[str, Any]
    normalizer: Normalizer
    scored: Sequence[Scored]
    failed: Sequence[Transcript]
    left_out: Sequence[str]
    speed: Speed
    against: Comparison | None = None

    @cached_property
    def words(self) -> Counts:
        return total(each.score.words for each in self.scored)

    @cached_property
    def characters(self) -> Counts:
        return total(each.score.characters for each in self.scored)

    @cached_property
    def wer(self) -> Interval | None:
        """Return the interval of the word error rate."""
        return interval(*_arrays([each.score.words for each in self.scored]))

    @cached_property
    def cer(self) -> Interval | None:
        """Return the interval of the character error rate."""
        return interval(*_arrays([each.score.characters for each in self.scored]))

    @cached_property
    def with_failed(self) -> Counts:
        """Return the word errors with failed clips counted as empty hypotheses."""
        missing = score([(self.normalizer(each.reference), "") for each in self.failed])
        return total([self.words, *(each.words for each in missing)])

    def within(self, percent: int) -> int:
        """Count the utterances whose word error rate is at most so many percent."""
        return sum(each.score.words.within(percent) for each in self.scored)

    def groups(self, field: str) -> dict[str, list[Scored]]:
        """Group the scored utterances by a field of the data's lines."""
        found: dict[str, list[Scored]] = {}
        for each in self.scored:
            found.setdefault(each.clip.fields.get(field, ""), []).append(each)
        return found

    def digest(self) -> str:
        """Return a digest of the utterances: ids, references and the bytes of their files."""
        rows = []
        for each in self.scored:
            rows.append((each.transcript.id, each.transcript.sha256, each.transcript.reference))
        rows += [(each.id, each.sha256, each.reference) for each in self.failed]
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
    failed = [transcripts[clip.id] for clip in clips if transcripts[clip.id].hypothesis is None]
    reused, left_out, pairs = [], [], []
    for clip in clips:
        each = transcripts[clip.id]
        if each.hypothesis is None:
            continue
        reference = normalizer(clip.reference, clip.fields)
        if normalizer.unscored(reference):
            left_out.append(clip.id)
            continue
        reused.append((clip, each))
        pairs.append((reference, normalizer(each.hypothesis, clip.fields)))
    scores = score(pairs, normalizer)
    scored = [Scored(*both, found) for both, found in zip(reused, scores, strict=True)]
    return Evaluation(str(data), made_by, normalizer, scored, failed, left_out, speed)


def require_words(clips: Sequence[Utterance], normalizer: Normalizer, data: Path) -> None:
    """Raise R572 if no reference has a scored word."""
    references = (normalizer(clip.reference, clip.fields) for clip in clips)
    if not any(each.strip() and not normalizer.unscored(each) for each in references):
        message = f"no reference has a word after normalization by {normalizer}"
        raise ComposerError(Problem("R572", message, Place(str(data))))


def require_same_clips(clips: Sequence[Utterance], other: Results, path: Path) -> None:
    """Raise R574 unless other results are of these utterances: ids and references."""
    here = {clip.id: clip.reference for clip in clips}
    present = {name: each.reference for name, each in other.transcripts.items()}
    causes = []
    common = [name for name in here if name in present]
    for what, names in (
        ("only here", [name for name in here if name not in present]),
        ("only there", [name for name in present if name not in here]),
        ("with another reference", [name for name in common if here[name] != present[name]]),
    ):
        if names:
            causes.append(f"{len(names)} {what}: {listed(names)}")
    if causes:
        _refuse(path, causes)


def compare(ours: Evaluation, other: Results, path: Path) -> Comparison:
    """Compare an evaluation with other results, scored alike, by a paired bootstrap.

    Raise R574 if a clip's file differs, or a clip failed on either side.
    """
    causes = []
    changed = []
    for e in ours.scored:
        if e.transcript.sha256 != other.transcripts[e.transcript.id].sha256:
            changed.append(e.transcript.id)
    missing = [each.id for each in ours.failed]
    missing += [
        e.transcript.id
        for e in ours.scored
        if other.transcripts[e.transcript.id].hypothesis is None
    ]
    for what, names in (("of other audio", changed), ("failed here or there", missing)):
        if names:
            causes.append(f"{len(names)} {what}: {listed(names)}")
    if causes:
        _refuse(path, causes)
    rule = ours.normalizer
    pairs = []
    for each in ours.scored:
        hypothesis = other.transcripts[each.clip.id].hypothesis or ""
        fields = each.clip.fields
        pairs.append((rule(each.clip.reference, fields), rule(hypothesis, fields)))
    other_counts = [each.words for each in score(pairs, rule)]
    errors, sizes = _arrays([each.score.words for each in ours.scored])
    others, _ = _arrays(other_counts)
    return Comparison(
        str(path), other.made_by, total(other_counts).rate or 0.0, paired(errors, others, sizes)
    )


def _refuse(path: Path, causes: Sequence[str]) -> None:
    message = "the two results are not of the same utterances and cannot be paired"
    hint = "evaluate both bundles on the same data, without failures"
    raise ComposerError(Problem("R574", message, Place(str(path)), tuple(causes), hint))


def _arrays(counts: Sequence[Counts]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([c.errors for c in counts], int), np.array([c.total for c in counts], int)
