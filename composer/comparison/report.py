"""Write a comparison as a table, as JSON and as JUnit's XML."""

from __future__ import annotations

import re
from dataclasses import asdict
from typing import Any
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from composer.comparison.compare import Comparison, Row
from composer.comparison.gates import Verdict
from composer.comparison.power_report import power_json, power_lines
from composer.runtime.provenance_diff import changed_files, differences

SHOWN = 3  # files that a verdict names
MEASURES = ("l2", "peak", "gain", "angle")
NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def table(found: Comparison) -> str:
    """Return one line per stage with its faults below it, and the verdict."""
    lines = [["stage", "own input", *MEASURES, "reference's input"]]
    for row in found.rows:
        measures = row.own.measures
        numbers = [f"{getattr(measures, m):.1e}" if measures else "" for m in MEASURES]
        fed = "-" if row.fed is None else _same_or_differs(row.fed)
        lines.append([row.name, _same_or_differs(row.own), *numbers, fed])
    widths = []
    for at in range(len(lines[0])):
        widths.append(max(len(line[at]) for line in lines))
    cells = ["  ".join(map(str.ljust, line, widths)).rstrip() for line in lines]
    faults = [[], *(_faults(row) for row in found.rows)]
    texts = []
    for cell, below in zip(cells, faults, strict=True):
        texts += [cell, *(f"    {fault}" for fault in below)]
    texts += [f"skipped: {name}" for name in found.skipped]
    texts += _allowed_line(found)
    if found.ok:
        texts += power_lines(found)
    return "\n".join([*texts, *differences(*found.made), verdict_line(found)])


def _allowed_line(found: Comparison) -> list[str]:
    """Return the line with the tolerance, if it is the same for every stage."""
    allowed = {row.own.allowed for row in found.rows if row.own.allowed}
    if len(allowed) > 1:
        return ["allowed: at each stage by its own noise, which --json lists"]
    if not allowed:
        return []
    limits = asdict(allowed.pop()).items()
    return [f"allowed: {', '.join(f'{name} {limit:g}' for name, limit in limits)}"]


def verdict_line(found: Comparison) -> str:
    """Return one line: whether all is the same, or which stage differs first."""
    if found.ok:
        clips = f" of {found.clips} clips" if found.clips > 1 else ""
        return f"the same: {len(found.rows)} stages{clips}{_though(found)}"
    first = found.first
    if first is None:
        return "differs: nothing was compared"
    wrong = sum(not row.ok for row in found.rows)
    if first.fed is not None and not first.fed.ok:
        how = "on the reference's own input"
    elif not found.ran:
        how = "and two dumps do not show whether it is at fault itself"
    elif first.fed is not None:
        how = "on what came before it"
    else:
        how = "with nothing wrong before it"
    return f"differs: {wrong} of {len(found.rows)} stages; the first is {first.name}, {how}"


def _though(found: Comparison) -> str:
    """Return which files differ all the same, the first few by name."""
    changed = changed_files(*found.made)
    if not changed:
        return ""
    more = f" and {len(changed) - SHOWN} more" if len(changed) > SHOWN else ""
    return f", though these files differ: {', '.join(changed[:SHOWN])}{more}"


def as_json(found: Comparison) -> dict[str, Any]:
    """Return a comparison as JSON data."""
    first = found.first
    return {
        "ok": found.ok,
        "first": first.name if first else None,
        "skipped": list(found.skipped),
        "clips": found.clips,
        "changed_files": changed_files(*found.made),
        "smallest_faults": power_json(found),
        "reference": dict(found.made[0]),
        "candidate": dict(found.made[1]),
        "stages": [
            {"stage": row.name, "node": row.node, "ok": row.ok, "own": _json(row.own),
             "fed": _json(row.fed) if row.fed else None}
            for row in found.rows
        ],
    }  # fmt: skip


def junit(found: Comparison, name: str) -> str:
    """Return a comparison as a JUnit suite with a case per stage."""
    wrong = sum(not row.ok for row in found.rows) + (not found.rows)
    skipped = len(found.skipped)
    suite = Element(
        "testsuite",
        name=name,
        tests=str(max(len(found.rows), 1) + skipped),
        failures=str(wrong),
        skipped=str(skipped),
    )
    for row in found.rows:
        case = SubElement(suite, "testcase", classname=name, name=row.name)
        if not row.ok:
            faults = _faults(row)
            SubElement(case, "failure", message=faults[0]).text = "\n".join(faults)
    if not found.rows:
        case = SubElement(suite, "testcase", classname=name, name="anything")
        SubElement(case, "failure", message="nothing was compared")
    for each in found.skipped:
        SubElement(SubElement(suite, "testcase", classname=name, name=each), "skipped")
    indent(suite)
    return NO_XML.sub("\ufffd", tostring(suite, encoding="unicode")) + "\n"


def _faults(row: Row) -> list[str]:
    fed = row.fed.faults if row.fed else ()
    return [*row.own.faults, *(f"on the reference's input: {fault}" for fault in fed)]


def _same_or_differs(verdict: Verdict) -> str:
    return "same" if verdict.ok else "DIFFERS"


def _json(verdict: Verdict) -> dict[str, Any]:
    measures, allowed = (asdict(m) if m else None for m in (verdict.measures, verdict.allowed))
    return {"ok": verdict.ok, "faults": list(verdict.faults), "measures": measures,
            "allowed": allowed}  # fmt: skip
