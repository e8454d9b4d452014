"""Write a comparison as a table, as JSON and as JUnit's XML."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from composer.comparison.compare import Comparison, Row
from composer.comparison.gates import StageVerdict
from composer.comparison.power_report import power_json, power_lines
from composer.core.suggest import join_at_most
from composer.core.text_columns import align
from composer.core.xml import allowed_in_xml
from composer.runtime.provenance_diff import changed_files, provenance_differences

SHOWN = 3  # files that a verdict names
MEASURES = ("l2", "peak", "gain", "angle")
HEAD = ["stage", "own input", *MEASURES, "reference's input"]


def table(found: Comparison) -> str:
    """Return one line per stage with its faults below it, and the verdict."""
    head, *rows = align([HEAD, *map(_cells, found.rows)])
    lines = [head]
    for line, row in zip(rows, found.rows, strict=True):
        lines.append(line)
        lines += (f"    {fault}" for fault in _faults(row))
    lines += (f"skipped: {name}" for name in found.skipped)
    lines += _allowed_line(found)
    if found.ok:
        lines += power_lines(found)
    return "\n".join([*lines, *provenance_differences(*found.made), verdict_line(found)])


def _cells(row: Row) -> list[str]:
    numbers = [""] * len(MEASURES)
    if row.own.measures:
        numbers = [f"{getattr(row.own.measures, name):.1e}" for name in MEASURES]
    fed = _same_or_differs(row.fed) if row.fed else "-"
    return [row.name, _same_or_differs(row.own), *numbers, fed]


def _allowed_line(found: Comparison) -> list[str]:
    """Return the line with the tolerance, if it is the same for every stage."""
    allowed = {row.own.allowed for row in found.rows if row.own.allowed}
    if len(allowed) > 1:
        return ["allowed: at each stage by its own noise, which --json lists"]
    if not allowed:
        return []
    limits = [f"{name} {limit:g}" for name, limit in asdict(allowed.pop()).items()]
    return [f"allowed: {', '.join(limits)}"]


def verdict_line(found: Comparison) -> str:
    """Return one line: whether all is the same, or which stage differs first."""
    if found.ok:
        compared = f"{len(found.rows)} stages"
        if found.clips > 1:
            compared += f" of {found.clips} clips"
        return f"the same: {compared}{_though(found)}"
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
    return f", though these files differ: {join_at_most(changed, SHOWN)}"


def as_json(found: Comparison) -> dict[str, Any]:
    """Return a comparison as JSON data."""
    return {
        "ok": found.ok,
        "first": found.first and found.first.name,
        "skipped": list(found.skipped),
        "clips": found.clips,
        "changed_files": changed_files(*found.made),
        "smallest_faults": power_json(found),
        "reference": dict(found.made[0]),
        "candidate": dict(found.made[1]),
        "stages": list(map(_row_json, found.rows)),
    }


def _row_json(row: Row) -> dict[str, Any]:
    return {
        "stage": row.name,
        "node": row.node,
        "ok": row.ok,
        "own": _verdict_json(row.own),
        "fed": row.fed and _verdict_json(row.fed),
    }


def _verdict_json(verdict: StageVerdict) -> dict[str, Any]:
    return {
        "ok": verdict.ok,
        "faults": list(verdict.faults),
        "measures": verdict.measures and asdict(verdict.measures),
        "allowed": verdict.allowed and asdict(verdict.allowed),
    }


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
    return allowed_in_xml(tostring(suite, encoding="unicode")) + "\n"


def _faults(row: Row) -> list[str]:
    faults = list(row.own.faults)
    if row.fed:
        faults += (f"on the reference's input: {fault}" for fault in row.fed.faults)
    return faults


def _same_or_differs(verdict: StageVerdict) -> str:
    return "same" if verdict.ok else "DIFFERS"
