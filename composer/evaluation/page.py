"""Write an evaluation as one HTML page, without external files but the clips."""

from __future__ import annotations

import base64
import hashlib
import os
import re
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from urllib.parse import quote

from composer.evaluation.alignment_view import aligned_columns
from composer.evaluation.evaluation import Evaluation, ScoredClip
from composer.evaluation.journal import Transcript
from composer.evaluation.report import percent, report_text

PAGE = Path(__file__).with_name("page.html")
SCRIPT = re.compile("<script>(.*?)</script>", re.S)
SLOT = re.compile(r"\{\{([A-Z]+)\}\}")
POLICY = (
    "default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; "
    "img-src data:; media-src * data: blob: file:"
)
BINS = (0, 5, 10, 15, 20, 30, 40, 50, 75, 100)


def html_page(found: Evaluation, folder: Path, by: Sequence[str] = ()) -> str:
    """Return the page for a folder: clips are linked relative to it."""
    shell = PAGE.read_text("utf-8")
    rows = sorted(found.scored, key=lambda each: (-_rate(each), each.clip.id))
    title = f"{found.made_by['bundle']['name']}, WER {percent(found.words.rate)}"
    articles = [_failure(each) for each in found.failed]
    articles += [_article(each, folder) for each in rows]
    filled = {
        "POLICY": POLICY.format(digest=_script_digest(shell)),
        "TITLE": escape(title),
        "REPORT": escape(report_text(found, by)),
        "HISTOGRAM": _histogram(rows),
        "ARTICLES": "\n".join(articles),
    }
    return SLOT.sub(lambda slot: filled[slot[1]], shell)


def _script_digest(shell: str) -> str:
    """Return what allows the page its own script, and no other."""
    (script,) = SCRIPT.findall(shell)
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _rate(each: ScoredClip) -> float:
    rate = each.score.words.rate
    if rate is None:
        return float(each.score.words.errors > 0)
    return rate


def _histogram(rows: Sequence[ScoredClip]) -> str:
    """Count utterances at 0 %, above 0 to 5 %, ... and above 100 %."""
    labels = ["0 %", *(f"to {edge} %" for edge in BINS[1:]), "over"]
    counts = [0] * len(labels)
    edges = [edge + 1e-9 for edge in BINS]
    for each in rows:
        counts[bisect_left(edges, 100 * _rate(each))] += 1
    most = max(*counts, 1)
    bars = []
    for label, count in zip(labels, counts, strict=True):
        bars.append(
            f'<div>{count}<i style="height:{8 * count / most:.2f}rem"></i>{escape(label)}</div>'
        )
    return f'<div class="bars">{"".join(bars)}</div>'


def _article(each: ScoredClip, folder: Path) -> str:
    cells: list[list[str]] = [[], []]
    for *words, mark in aligned_columns(each.score.spans):
        cell = "td" if mark == " " else f'td class="{mark}"'
        for line, word in zip(cells, words, strict=True):
            line.append(f"<{cell}>{escape(word)}</td>")
    table = "".join(f"<tr>{''.join(line)}</tr>" for line in cells)
    counts = each.score.words
    summary = f"{percent(counts.rate)} of {counts.total} words"
    notes = "".join(
        f'<div class="note">suspicious: {escape(reason)}</div>'
        for reason in each.transcript.suspicious or ()
    )
    return (
        f"<article {_data(each)}><header><b>{summary}</b>"
        f'<audio controls preload="none" src="{escape(_source(each, folder))}">'
        f'</audio><span>{escape(each.clip.id)}</span></header><div class="scroll">'
        f"<table>{table}</table></div>"
        f"{_raw('reference', escape(each.clip.reference))}"
        f"{_raw('hypothesis', ''.join(_words(each)))}{notes}</article>"
    )


def _data(each: ScoredClip) -> str:
    """Return the attributes by which an utterance is sorted and chosen."""
    counts, transcript = each.score.words, each.transcript
    values: dict[str, object] = {
        "id": each.clip.id,
        "rate": f"{_rate(each):.6f}",
        "errors": counts.errors,
        "total": counts.total,
        "s": counts.substitutions,
        "d": counts.deletions,
        "i": counts.insertions,
        "seconds": transcript.seconds or 0,
    }
    if transcript.suspicious:
        values["suspicious"] = len(transcript.suspicious)
    if transcript.finish_reason == "length":
        values["cut"] = ""
    return _attributes(values)


def _attributes(values: Mapping[str, object]) -> str:
    return " ".join(f'data-{name}="{escape(str(value))}"' for name, value in values.items())


def _source(each: ScoredClip, folder: Path) -> str:
    source = quote(os.fsencode(Path(os.path.relpath(each.clip.path, folder)).as_posix()))
    if each.clip.offset is not None:
        end = each.clip.offset + (each.transcript.seconds or 0)
        source += f"#t={each.clip.offset:g},{end:g}"
    return source


def _words(each: ScoredClip) -> Iterator[str]:
    """Yield the hypothesis, in which each word that has a time is a place to play from."""
    text, at = each.transcript.hypothesis or "", 0
    begin = each.clip.offset or 0.0
    for word in each.transcript.words or ():
        start = text.find(word["word"], at)
        if start < 0 or "start" not in word:
            continue
        yield escape(text[at:start])
        at = start + len(word["word"])
        when = {"start": f"{begin + word['start']:.3f}", "end": f"{begin + word['end']:.3f}"}
        yield f'<button class="w" {_attributes(when)}>{escape(text[start:at])}</button>'
    yield escape(text[at:])


def _raw(title: str, markup: str) -> str:
    shown = f'<span class="{title}">{markup}</span>' if markup else "<i>nothing</i>"
    return f"<div><small>{title}</small> {shown}</div>"


def _failure(each: Transcript) -> str:
    shown = escape("; ".join(f"{fault['code']} {fault['message']}" for fault in each.error or ()))
    data = _attributes({"id": each.id, "failed": ""})
    named = f"<b>failed</b><span>{escape(each.id)}</span>"
    return f"<article {data}><header>{named}</header>{shown}</article>"
