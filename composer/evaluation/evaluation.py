"""Put clips, what was heard and a normaliser together to error rates."""

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
from composer.evaluation.data import Utterance
from composer.evaluation.journal import Results, Transcript
from composer.evaluation.normalizer import Normalizer
from composer.evaluation.score import Counts, Score, score, total

if TYPE_CHECKING:
    from composer.evaluation.pace import Speed


@dataclass(frozen=True)
class Scored:
    """A clip, what was heard of it, and its errors."""

    clip: Utterance
    heard: Transcript
    score: Score


@dataclass(frozen=True)
class Comparison:
    """Another system on the same utterances; `wer` is its own, and less is better for ours."""

    path: str
    made_by: Mapping[str, Any]
    wer: float
    words: Paired


@dataclass(frozen=True)
class Evaluation:
    """A bundle's errors on some data, with all that made them.

    `failed` are clips that gave no hypothesis, `left_out` references that the normaliser's source
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
        """Return the words' errors if nothing had been heard of the clips that failed."""
        lost = score([(self.normalizer(each.reference), "") for each in self.failed])
        return total([self.words, *(each.words for each in lost)])

    def within(self, percent: int) -> int:
        """Count the utterances whose word error rate is at most so many percent."""
        return sum(each.score.words.within(percent) for each in self.scored)

    def groups(self, field: str) -> dict[str, list[Scored]]:
        """Return what was scored by a field of the data's lines."""
        found: dict[str, list[Scored]] = {}
        for each in self.scored:
            found.setdefault(each.clip.fields.get(field, ""), []).append(each)
        return found

    def digest(self) -> str:
        """Return a digest of the utterances: ids, references and the bytes of their files."""
        rows = [(each.heard.id, each.heard.sha256, each.heard.reference) for each in self.scored]
        rows += [(each.id, each.sha256, each.reference) for each in self.failed]
        return f"sha256:{hashlib.sha256(repr(sorted(rows, key=repr)).encode()).hexdigest()}"


def evaluate(
    data: Path,
    made_by: Mapping[str, Any],
    clips: Sequence[Utterance],
    heard: Mapping[str, Transcript],
    normalizer: Normalizer,
    speed: Speed,
) -> Evaluation:
    """Score what was heard."""
    failed = [heard[clip.id] for clip in clips if heard[clip.id].hypothesis is None]
    kept, left_out, pairs = [], [], []
    for clip in clips:
        each = heard[clip.id]
        if each.hypothesis is None:
            continue
        reference = normalizer(clip.reference, clip.fields)
        if normalizer.unscored(reference):
            left_out.append(clip.id)
            continue
        kept.append((clip, each))
        pairs.append((reference, normalizer(each.hypothesis, clip.fields)))
    scores = score(pairs, normalizer)
    scored = [Scored(*both, found) for both, found in zip(kept, scores, strict=True)]
    return Evaluation(str(data), made_by, normalizer, scored, failed, left_out, speed)


def require_words(clips: Sequence[Utterance], normalizer: Normalizer, data: Path) -> None:
    """Raise R572 where no reference has a word that is scored."""
    references = (normalizer(clip.reference, clip.fields) for clip in clips)
    if not any(each.strip() and not normalizer.unscored(each) for each in references):
        message = f"no reference has a word once {normalizer} is through with it"
        raise ComposerError(Problem("R572", message, Place(str(data))))


def require_same_clips(clips: Sequence[Utterance], other: Results, path: Path) -> None:
    """Raise R574 unless other results are of these utterances: ids and references."""
    here = {clip.id: clip.reference for clip in clips}
    there = {name: each.reference for name, each in other.heard.items()}
    causes = []
    for what, names in (
        ("only here", [name for name in here if name not in there]),
        ("only there", [name for name in there if name not in here]),
        ("with another reference", [n for n in here if n in there and here[n] != there[n]]),
    ):
        if names:
            causes.append(f"{len(names)} {what}: {listed(names)}")
    if causes:
        _refuse(path, causes)


def compare(ours: Evaluation, other: Results, path: Path) -> Comparison:
    """Hold an evaluation against other results, scored alike, by a paired bootstrap.

    Raise R574 where a clip's file was another one, or a clip failed on either side.
    """
    causes = []
    changed = [e.heard.id for e in ours.scored if e.heard.sha256 != other.heard[e.heard.id].sha256]
    lost = [each.id for each in ours.failed]
    lost += [e.heard.id for e in ours.scored if other.heard[e.heard.id].hypothesis is None]
    for what, names in (("of other audio", changed), ("failed here or there", lost)):
        if names:
            causes.append(f"{len(names)} {what}: {listed(names)}")
    if causes:
        _refuse(path, causes)
    rule = ours.normalizer
    pairs = [
        (
            rule(each.clip.reference, each.clip.fields),
            rule(other.heard[each.clip.id].hypothesis or "", each.clip.fields),
        )
        for each in ours.scored
    ]
    theirs = [each.words for each in score(pairs, rule)]
    errors, sizes = _arrays([each.score.words for each in ours.scored])
    others, _ = _arrays(theirs)
    return Comparison(
        str(path), other.made_by, total(theirs).rate or 0.0, paired(errors, others, sizes)
    )


def _refuse(path: Path, causes: Sequence[str]) -> None:
    message = "the two results are not of the same utterances, so that no pairs can be made"
    hint = "evaluate both bundles on the same data, without failures"
    raise ComposerError(Problem("R574", message, Place(str(path)), tuple(causes), hint))


def _arrays(counts: Sequence[Counts]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([c.errors for c in counts], int), np.array([c.total for c in counts], int)
