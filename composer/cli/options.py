"""Describe the arguments that several commands share."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from composer.cli.completion import complete_bundle, complete_precision
from composer.core.errors import ComposerError, Problem
from composer.core.languages import in_spelling_of
from composer.core.suggest import listed

if TYPE_CHECKING:
    from composer.graph.graph import Graph

BundleName = Annotated[
    str,
    typer.Argument(
        metavar="BUNDLE",
        autocompletion=complete_bundle,
        help="A manifest or its folder, the name of a bundle that ships, or a repository of the "
        "Hub as owner/name[@revision].",
        show_default=False,
    ),
]
Variant = Annotated[
    str | None, typer.Option(metavar="NAME", help="Take one of the bundle's variants.")
]
Task = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Choose a task, where the bundle has several."),
]
Sources = Annotated[
    list[str] | None,
    typer.Option(
        "--source",
        metavar="NAME=FOLDER",
        help="Read a source's files from a folder. May be repeated.",
    ),
]
ProfileFile = Annotated[
    Path | None,
    typer.Option(
        "--profile",
        metavar="FILE",
        help="Read from a file where components run: threads, providers, device, precision.",
    ),
]
Threads = Annotated[
    int | None,
    typer.Option(min=1, max=1024, metavar="N", help="Use N threads in one operation."),
]
Providers = Annotated[
    list[str] | None,
    typer.Option(
        "--provider",
        metavar="NAME",
        help="Run components that read `providers` on this execution provider, best first. "
        "May be repeated.",
    ),
]
Device = Annotated[
    str | None, typer.Option(metavar="cpu|gpu", help="Run components that read `device` on it.")
]
Keys = Annotated[
    list[str] | None,
    typer.Option(
        "--place",
        metavar="KEY=VALUE",
        help="Place components by a key of their backend that has no option here. May be repeated.",
    ),
]
Backends = Annotated[
    list[str] | None,
    typer.Option(
        "--backend",
        metavar="[COMPONENT=]NAME",
        help="Run components that name a family, such as lm, on one of the backends that doctor "
        "lists: all of them, or one. May be repeated.",
    ),
]
Precisions = Annotated[
    list[str] | None,
    typer.Option(
        "--precision",
        metavar="COMPONENT=RECIPE|DTYPE",
        autocompletion=complete_precision,
        help="Run a component in float32, float16 or bfloat16, or quantized by a recipe such as "
        "mixed-8-4, or one in braces as in a manifest; `stored` drops its recipe, and RECIPE,DTYPE "
        "gives both. May be repeated.",
    ),
]
Inputs = Annotated[
    list[str] | None,
    typer.Option(
        "-i",
        "--input",
        metavar="NAME=VALUE",
        help="Give an input: text as it is, audio as a file (- for stdin), "
        "numbers as a JSON list, a .npy or a .safetensors file. May be repeated.",
    ),
]
Clips = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[CLIP...]",
        help="Audio files, or folders of them: the task is run once for each.",
        show_default=False,
    ),
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NODE.OPTION=VALUE",
        help="Change an option of a node, as in answer.max_tokens=64. May be repeated.",
    ),
]
Language = Annotated[
    str | None,
    typer.Option(
        "-l",
        "--language",
        metavar="NAME",
        help="Short for -i language=NAME; a code such as en will do.",
    ),
]
ChannelOf = Annotated[
    str | None,
    typer.Option(
        "--channel",
        metavar="mix|left|right|each",
        help="Take one channel of the audio, or each by itself. Absent: what the bundle says.",
    ),
]
Force = Annotated[
    bool, typer.Option("--force", help="Replace files that this run would write and are there.")
]
Partial = Annotated[
    bool,
    typer.Option(
        "--partial", help="Read audio that was cut short as far as it goes, and say how far."
    ),
]
InFlight = Annotated[
    int, typer.Option("--jobs", min=1, max=64, metavar="N", help="Run N clips at once.")
]
Trust = Annotated[
    bool,
    typer.Option(
        "--trust", help="Load files of the Hub without trying them in a child process first."
    ),
]
LockFile = Annotated[
    Path | None,
    typer.Option(
        "--lock", metavar="FILE", help="Check the bundle against this lock, not the one beside it."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs to read.")]


def split_pairs(given: list[str] | None, flag: str, form: str) -> dict[str, str]:
    """Split NAME=VALUE texts; refuse what has no '=', and a name that is given twice."""
    found: dict[str, str] = {}
    for text in given or ():
        name, equals, value = text.partition("=")
        if not (name and equals):
            raise typer.BadParameter(f"{flag} takes {form}, not '{text}'")
        if name in found:
            raise typer.BadParameter(f"{flag} {name} is given twice")
        found[name] = value
    return found


def with_language(graph: Graph, inputs: list[str] | None, language: str | None) -> list[str] | None:
    """Return the inputs with the language that has a flag of its own, spelled as the bundle's.

    Raise ComposerError R540 where the task has no such input.
    """
    if language is None:
        return inputs
    entry = graph.inputs.get("language")
    if entry is None:
        message = f"{graph.owner} has no input 'language'"
        hint = f"it takes: {listed(graph.inputs)}"
        raise ComposerError(Problem("R540", message, hint=hint))
    return [*(inputs or ()), f"language={in_spelling_of(language, str(entry.default or ''))}"]


def source_folders(given: list[str] | None) -> dict[str, Path]:
    """Return the folders that stand in for sources."""
    found = split_pairs(given, "--source", "NAME=FOLDER")
    return {name: Path(folder).expanduser() for name, folder in found.items()}


def placement_value(text: str) -> Any:
    """Return a value of `--place`: as JSON where it is some, else the text itself."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def parse_size(text: str) -> int:
    """Return the bytes of a size such as 3GB, 500 MB or 1000."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kMG]?)B?\s*", text)
    if not found:
        raise typer.BadParameter(f"a size is a number and kB, MB or GB, not '{text}'")
    return int(float(found[1]) * {"": 1, "k": 1e3, "M": 1e6, "G": 1e9}[found[2]])
