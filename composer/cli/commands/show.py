"""Draw a bundle's graph, with shapes, precision, bytes and casts.

The tree begins with the licence and with where each part comes from.

A bundle that is refused is drawn as far as it is understood, and its errors are printed.

Example: composer show mega-asr-mini --format svg -o graph.svg
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from composer.cli.flags import parse_precisions
from composer.cli.options import BundleName, Force, Precisions, Sources, Variant, source_folders
from composer.cli.printing import echo, print_problems
from composer.core.errors import ComposerError, errors_of
from composer.core.output import OutputFile

if TYPE_CHECKING:
    from composer.graph.checked import Checked


class Format(StrEnum):
    """How a graph is drawn."""

    tree = "tree"
    mermaid = "mermaid"
    svg = "svg"


def command(
    bundle: BundleName,
    format: Annotated[Format, typer.Option("-f", "--format", help="How to draw it.")] = Format.tree,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="Write to a file.")
    ] = None,
    force: Force = False,
    variant: Variant = None,
    source: Sources = None,
    precision: Precisions = None,
) -> None:
    from composer.checker import check_variant
    from composer.graph_drawing.mermaid import mermaid
    from composer.graph_drawing.svg import svg
    from composer.sources.resolve import find_bundle

    target = OutputFile(output, force) if output else None
    found = check_variant(
        find_bundle(bundle),
        variant,
        sources=source_folders(source),
        precision=parse_precisions(precision, "--precision"),
    )
    if found.bundle is None:
        raise ComposerError(found.problems)
    draw = {Format.tree: _tree, Format.mermaid: mermaid, Format.svg: svg}[format]
    drawn = draw(found.bundle)
    if target:
        target.write(drawn.rstrip("\n") + "\n")
    else:
        echo(drawn.rstrip("\n"))
    if not found.ok:
        errors = ComposerError(errors_of(found.problems))
        print_problems(errors.problems)
        raise typer.Exit(errors.exit_code)


def _tree(bundle: Checked) -> str:
    """Return the bundle as a tree, with the casts of the tasks that can be planned."""
    from composer.cli.casts import casts_by_node
    from composer.graph_drawing.tree import tree
    from composer.runtime.plan import plan

    casts = {}
    for name, graph in bundle.graphs.items():
        if all(value.port for value in graph.values.values()):
            casts[name] = casts_by_node(plan(bundle, name))
    return tree(bundle, casts)
