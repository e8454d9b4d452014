"""Write an evaluation as one HTML page without scripts or external files but the clips."""

from __future__ import annotations

import os
from bisect import bisect_left
from collections.abc import Sequence
from html import escape
from pathlib import Path
from urllib.parse import quote

from composer.evaluation.alignment_view import aligned_columns
from composer.evaluation.evaluation import Evaluation, ScoredClip
from composer.evaluation.report import percent, report_text

BINS = (0, 5, 10, 15, 20, 30, 40, 50, 75, 100)
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem;
  color: #1b1f24; background: #fff }
pre { background: #f5f6f8; padding: 1rem; overflow-x: auto }
article { border-top: 1px solid #d8dce1; padding: .8rem 0 }
header { display: flex; gap: 1rem; align-items: center; flex-wrap: wrap }
header b { font-variant-numeric: tabular-nums }
audio { height: 2rem }
table { border-collapse: collapse; display: inline-block; vertical-align: top }
td { padding: 0 .3rem; white-space: pre }
.S { background: #ffe2b8 } .D { background: #ffd0d0 } .I { background: #cfe5ff }
.bars { display: flex; align-items: flex-end; gap: .3rem; height: 11rem; margin: 1rem 0 }
.bars div { flex: 1; text-align: center; font-size: 12px }
.bars i { display: block; background: #5b7fa6 }
"""
POLICY = "default-src 'none'; style-src 'unsafe-inline'; media-src * data: blob: file:"


def html_page(found: Evaluation, folder: Path, by: Sequence[str] = ()) -> str:
    """Return the page for a folder: clips are linked relative to it."""
    rows = sorted(found.scored, key=lambda each: (-_rate(each), each.clip.id))
    title = f"{found.made_by['bundle']['name']}, WER {percent(found.words.rate)}"
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
        '<meta name="viewport" content="width=device-width">',
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body>",
        f"<h1>{escape(title)}</h1>",
        f"<pre>{escape(report_text(found, by))}</pre>",
        "<h2>Utterances by word error rate</h2>",
        _histogram(rows),
        '<p>The worst first. <span class="S">substituted</span>, <span class="D">deleted</span>, '
        '<span class="I">inserted</span>.</p>',
        *(_failure(each.id, each.error or []) for each in found.failed),
        *(_article(each, folder) for each in rows),
        "</body></html>",
    ]
    return "\n".join(parts) + "\n"


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
    source = quote(os.fsencode(Path(os.path.relpath(each.clip.path, folder)).as_posix()))
    if each.clip.offset is not None:
        end = each.clip.offset + (each.transcript.seconds or 0)
        source += f"#t={each.clip.offset:g},{end:g}"
    return (
        f"<article><header><b>{summary}</b>"
        f'<audio controls preload="none" src="{escape(source)}">'
        f"</audio><span>{escape(each.clip.id)}</span></header><table>{table}</table>"
        f"{_raw('reference', each.clip.reference)}"
        f"{_raw('hypothesis', each.transcript.hypothesis or '')}"
        "</article>"
    )


def _raw(title: str, text: str) -> str:
    return f"<div><small>{title}</small> {escape(text) or '<i>nothing</i>'}</div>"


def _failure(name: str, problems: Sequence[dict[str, object]]) -> str:
    shown = escape("; ".join(f"{each['code']} {each['message']}" for each in problems))
    return f"<article><header><b>failed</b><span>{escape(name)}</span></header>{shown}</article>"
