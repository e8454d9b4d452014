"""Write an evaluation as JSON and as text."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from textwrap import fill
from typing import Any

from composer.core.terminal import escape_line
from composer.evaluation.bootstrap import CONFIDENCE, RESAMPLES, SEED, ConfidenceInterval
from composer.evaluation.evaluation import Evaluation, EvaluationComparison, ScoredClip
from composer.evaluation.score import ErrorCounts, sum_counts
from composer.runtime.provenance_diff import provenance_differences

VERSION = 1
PERCENT = (0, 20)
WIDTH = 88


def report_json(found: Evaluation, by: Sequence[str] = ()) -> dict[str, Any]:
    """Return an evaluation as JSON data; rates are fractions, times are seconds."""
    speed = found.speed
    return {
        "report": VERSION,
        **found.made_by,
        "data": {"path": found.data, "digest": found.digest()},
        "normalizer": {
            "name": found.normalizer.name,
            "version": found.normalizer.version,
            "source": found.normalizer.source,
        },
        "utterances": {
            "scored": len(found.scored),
            "failed": len(found.failed),
            "left_out": len(found.left_out),
            "empty_references": found.empty_references,
            "empty_hypotheses": found.empty_hypotheses,
            "cut_short": found.cut_short,
            "suspicious": found.suspicious,
            **{f"at_most_{percent}_percent": found.within(percent) for percent in PERCENT},
        },
        "words": _counts(found.words, "wer", found.wer),
        "characters": _counts(found.characters, "cer", found.cer),
        "failed_as_deleted": _counts(found.with_failed, "wer") if found.failed else None,
        "interval": {
            "confidence": CONFIDENCE,
            "resamples": RESAMPLES,
            "seed": SEED,
            "of": "utterances, percentiles",
        },
        "speed": {
            "audio_seconds": round(speed.audio, 3),
            "wall_seconds": round(speed.wall, 3),
            "real_time_factor": speed.rtf,
            "jobs": list(speed.jobs),
            "sessions": speed.sessions,
        },
        "groups": {field: _groups(found, field) for field in by},
        "against": _against(found.against) if found.against else None,
    }


def _counts(
    counts: ErrorCounts, name: str, interval: ConfidenceInterval | None = None
) -> dict[str, Any]:
    data: dict[str, Any] = {name: counts.rate}
    if interval:
        data |= {"low": interval.low, "high": interval.high}
    return data | {
        "errors": counts.errors,
        "N": counts.total,
        "S": counts.substitutions,
        "D": counts.deletions,
        "I": counts.insertions,
        "H": counts.hits,
    }


def _groups(found: Evaluation, field: str) -> dict[str, Any]:
    groups = {}
    for name, rows in found.groups(field).items():
        groups[name] = {"utterances": len(rows), **_counts(_words(rows), "wer")}
    return groups


def _words(rows: Sequence[ScoredClip]) -> ErrorCounts:
    return sum_counts(each.score.words for each in rows)


def _against(other: EvaluationComparison) -> dict[str, Any]:
    low = high = None
    if other.words.interval:
        low, high = other.words.interval.low, other.words.interval.high
    return {
        "path": other.path,
        "bundle": other.made_by.get("bundle"),
        "wer": other.wer,
        "difference": other.words.difference,
        "low": low,
        "high": high,
        "p": other.words.p,
        "made_by": dict(other.made_by),
    }


def report_text(found: Evaluation, by: Sequence[str] = ()) -> str:
    """Return an evaluation as text."""
    many = len(found.scored)
    lines = [
        escape_line(
            f"{found.made_by['bundle']['name']} on {found.data}, normaliser {found.normalizer}"
        ),
        "",
    ]
    lines += [
        _row("words", found.words, "WER", found.wer),
        _row("characters", found.characters, "CER", found.cer),
    ]
    for percent in PERCENT:
        count = found.within(percent)
        title = f"at most {percent} %" if percent else "at 0 %"
        share = f"{100 * count / many:.1f} %" if many else "-"
        lines.append(f"{title:<14}{share:>8}   {count} of {many} utterances")
    lines += _notes(found)
    speed = found.speed
    if speed.rtf is not None:
        jobs = " and ".join(map(str, speed.jobs))
        lines.append(
            f"{'speed':<14}{speed.rtf:>8.3f}   real-time factor: {speed.wall:.1f} s for "
            f"{speed.audio:.1f} s of audio, {jobs} in flight"
        )
    for field in by:
        lines += ["", *_table(found, field)]
    if found.against:
        lines += ["", *_comparison(found.against, found.made_by)]
    return "\n".join([*lines, "", *_made_by(found)])


def percent(rate: float | None) -> str:
    """Return a rate in percent with two decimals, or a dash for none."""
    if rate is None:
        return "-"
    return f"{100 * rate:.2f} %"


def _row(title: str, counts: ErrorCounts, name: str, interval: ConfidenceInterval | None) -> str:
    span = "no interval"
    if interval:
        span = f"[{100 * interval.low:.2f}, {100 * interval.high:.2f}]"
    return (
        f"{title:<14}{percent(counts.rate):>8}   {name} {span}  N {counts.total}  "
        f"S {counts.substitutions}  D {counts.deletions}  I {counts.insertions}  H {counts.hits}"
    )


def _notes(found: Evaluation) -> list[str]:
    """Return lines about clips that are not in the rates or are unusual."""
    lines = []
    if found.failed:
        missing = percent(found.with_failed.rate)
        lines.append(
            f"{'failed':<14}{len(found.failed):>8}   in no rate; as deletions WER {missing}"
        )
    if found.left_out:
        lines.append(
            f"{'left out':<14}{len(found.left_out):>8}   references that {found.normalizer} skips"
        )
    for title, number, meaning in (
        ("empty", found.empty_references, "references; their hypotheses count as insertions"),
        ("silent", found.empty_hypotheses, "empty hypotheses"),
        ("cut short", found.cut_short, "the decoder reached its token limit"),
        ("suspicious", found.suspicious, "texts that are probably made up, in part or whole"),
    ):
        if number:
            lines.append(f"{title:<14}{number:>8}   {meaning}")
    return lines


def _table(found: Evaluation, field: str) -> list[str]:
    groups = found.groups(field)
    names = list(map(escape_line, groups))
    wide = max(map(len, [field, *names])) + 2
    lines = [f"{field:<{wide}}{'utterances':>10}{'words':>8}{'errors':>8}{'WER':>9}"]
    for name, rows in zip(names, groups.values(), strict=True):
        counts = _words(rows)
        lines.append(
            f"{name:<{wide}}{len(rows):>10}{counts.total:>8}{counts.errors:>8}"
            f"{percent(counts.rate):>9}"
        )
    return lines


def _comparison(other: EvaluationComparison, made_by: Mapping[str, Any]) -> list[str]:
    words, interval = other.words, other.words.interval
    name = other.made_by.get("bundle", {}).get("name", "?")
    verdict = "they differ" if words.p < 1 - CONFIDENCE else "no difference is shown"
    points = f"{100 * words.difference:+.2f} points"
    if interval:
        points += f" [{100 * interval.low:+.2f}, {100 * interval.high:+.2f}]"
    return [
        f"against {name} in {other.path}: WER {percent(other.wer)}",
        f"difference {points}, p {words.p:.4f}: {verdict}",
        *provenance_differences(other.made_by, made_by, "there"),
    ]


def _made_by(found: Evaluation) -> list[str]:
    made, bundle = found.made_by, found.made_by["bundle"]
    about = [bundle["name"], bundle["manifest"][:19], f"{len(bundle['files'])} files"]
    if bundle["variant"]:
        about.insert(1, f"variant {bundle['variant']}")
    about.append(f"locked {bundle['lock'][:19]}" if bundle["lock"] else "not locked")
    rows = {
        "bundle": ", ".join(about),
        "task": made["task"],
        "inputs": _flat(made["inputs"]),
        "audio": _flat(made["audio"]),
        "placement": _flat(made["placement"]),
        **{node: _flat(options) for node, options in made["settings"].items()},
        "align": made["align"]["bundle"]["name"] if "align" in made else "",
        "versions": _flat(made["versions"]),
    }
    collected, indent = [], 12 * " "
    for title, text in rows.items():
        if text:
            line = f"{title:<11} {text}"
            collected.append(fill(line, WIDTH, subsequent_indent=indent, break_long_words=False))
    return collected


def _flat(values: Mapping[str, Any], between: str = ", ") -> str:
    return between.join(f"{name} {_plain(value)}" for name, value in values.items())


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return _flat(value, " ")
    if isinstance(value, str) and value and not any(map(str.isspace, value)):
        return value
    return json.dumps(value, ensure_ascii=False)
