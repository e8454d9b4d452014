"""Gather what is stated of a bundle's licences and obligations.

From the manifest, from its provenance, and from the card of every repository that it or one of
its variants reads; from the lock where there is one. What is not stated is marked as such.

Example: composer licences elderwise
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from composer.cli.options import BundleName, Json, Variant
from composer.cli.printing import echo
from composer.core.output import json_text
from composer.core.text_columns import align

if TYPE_CHECKING:
    from composer.publishing.licences import LicenceStatement

TITLES = {
    "bundle": "The bundle, as its manifest states:",
    "part": "Its parts, as the manifest states:",
    "source": "Its sources, as their cards state:",
}
LAST = "These are the words of those who published; nothing is judged here. Read the terms."


def command(bundle: BundleName, variant: Variant = None, json: Json = False) -> None:
    from composer.jobs.licences import licences

    found = licences(bundle, variant=variant)
    if json:
        rows = [{**vars(each), "details": list(each.details)} for each in found.stated]
        echo(json_text({"bundle": found.bundle, "stated": rows}))
        return
    for kind, title in TITLES.items():
        rows_of = [each for each in found.stated if each.kind == kind]
        if rows_of:
            echo("\n".join([title, *_lines(rows_of), ""]))
    echo(LAST)


def _lines(rows: list[LicenceStatement]) -> list[str]:
    cells = [(each.name, _licence(each), "; ".join(each.details)) for each in rows]
    return [f"  {line}" for line in align(cells)]


def _licence(each: LicenceStatement) -> str:
    if each.unknown:
        return f"unknown: {each.unknown}"
    return each.licence or "not stated"
