"""Write what the docs take from the program: help texts, examples, pictures, the schema."""

from __future__ import annotations

import inspect
import os
import re
import sys
import textwrap
from collections.abc import Iterator
from contextlib import chdir
from pathlib import Path
from tempfile import TemporaryDirectory

import composer
from composer.cli.verbs import load_verb, verb_names
from composer.jobs.explain import error_titles
from composer.manifest.schema import schema_text
from scripts.draw_architecture import architecture
from scripts.examples import output
from scripts.make_coverage import coverage_page

ROOT = Path(__file__).parents[1]
IMAGES = ROOT / "docs" / "images"
CLI = ROOT / "docs" / "cli.md"
PAGES = ROOT / "docs" / "errors"
EXAMPLE = re.compile(
    r"```yaml\n(?P<manifest>composer: 1\n.*?)```\n\n```text\n(?P<printed>.*?)```", re.S
)
FAMILIES = {
    "M": "Manifest: the file itself",
    "W": "Wiring: the graph, the components and what they know of their files",
    "L": "Lint: warnings about what is allowed but hardly meant",
    "S": "Sources: folders, files and audio",
    "R": "Runs: what fails when a bundle is loaded or run, or is called wrongly",
}


def main(arguments: list[str]) -> int:
    """Write every generated page; with --check write none and list which are stale."""
    stale = [path for path, text in pages() if not path.exists() or path.read_text() != text]
    for path, text in pages():
        if path in stale and "--check" not in arguments:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
    for path in stale:
        print(path.relative_to(ROOT))
    return int(bool(stale) and "--check" in arguments)


def pages() -> Iterator[tuple[Path, str]]:
    """Yield each generated page with its text."""
    yield CLI, cli_page(CLI.read_text())
    yield ROOT / "docs" / "reference.md", reference_page()
    yield ROOT / "docs" / "coverage.md", coverage_page()
    yield ROOT / "docs" / "decisions" / "README.md", decisions_page()
    yield PAGES / "README.md", index_page()
    yield ROOT / "schemas" / "bundle-1.schema.json", schema_text(shipped=True)
    yield IMAGES / "architecture.svg", architecture()
    # A variant that names its backends, so that the picture is the same on every machine.
    yield IMAGES / "graph.svg", output("composer show mega-asr-mini --variant mlx --format svg")
    for code in error_titles():
        yield PAGES / f"{code}.md", error_page(code, (PAGES / f"{code}.md").read_text())


def cli_page(text: str) -> str:
    """Return the page with what each command does; its options are left to `--help`."""
    parts = [text.partition("\n\n## ")[0]]
    for name in verb_names():
        docstring = inspect.cleandoc(load_verb(name).help)
        description, _, example = docstring.partition("\n\nExample: ")
        paragraphs = [" ".join(each.split()) for each in description.split("\n\n")]
        parts.append(f"## composer {name}")
        parts += [textwrap.fill(each, 100, break_on_hyphens=False) for each in paragraphs]
        parts.append(f"```sh\n{' '.join(example.split()) or f'composer {name}'}\n```")
    return "\n\n".join(parts) + "\n"


def reference_page() -> str:
    """Return the public names, each with the first sentence of its docstring."""
    parts = [
        "# Python reference",
        "`import composer` offers these names. The site, built by `scripts/docs site`, has their "
        "signatures and\nwhole docstrings, and so does `help(composer.load)`.",
    ]
    rows = []
    for name in composer.__all__:
        summary = (inspect.getdoc(getattr(composer, name)) or "").partition("\n\n")[0]
        rows.append(f"| `composer.{name}` | {' '.join(summary.split())} |")
    parts.append("| name | what it is |\n|---|---|\n" + "\n".join(rows))
    return "\n\n".join(parts) + "\n"


def decisions_page() -> str:
    """Return the list of decisions by number."""
    files = sorted((ROOT / "docs" / "decisions").glob("[0-9]*.md"))
    titles = [file.read_text().partition("\n")[0].removeprefix("# ") for file in files]
    entries = [f"- [{title}]({file.name})" for file, title in zip(files, titles, strict=True)]
    return "# Decisions\n\nOne page for each choice, with what else was weighed.\n\n" + (
        "\n".join(entries) + "\n"
    )


def index_page() -> str:
    """Return the list of codes by family."""
    parts = ["# Errors and warnings", "`composer explain CODE` prints these pages in a terminal."]
    for family, title in FAMILIES.items():
        entries = [
            f"- [{c}]({c}.md) {t}" for c, t in error_titles().items() if c.startswith(family)
        ]
        if entries:
            parts.append(f"## {title}\n\n" + "\n".join(entries))
    return "\n\n".join(parts) + "\n"


def error_page(code: str, text: str) -> str:
    """Return a page with what its example prints today.

    An example is a whole manifest, `bundle.yaml`, and then what `composer check bundle.yaml` says
    of it, or else commands after `$` with all that they print. A page whose example does not show
    the page's own code is left as it is.
    """
    found = EXAMPLE.search(text)
    if not found:
        return text
    with TemporaryDirectory() as folder, chdir(folder):
        Path("bundle.yaml").write_text(found["manifest"])
        commands = [line[2:] for line in found["printed"].splitlines() if line.startswith("$ ")]
        printed = [f"$ {command}\n{output(command)}" for command in commands]
        printed = printed or [output("composer check bundle.yaml", results=False)]
    start, end = found.span("printed")
    shown = "".join(printed)
    return text[:start] + shown + text[end:] if f"{code} " in shown else text


if __name__ == "__main__":
    os.environ["COLUMNS"] = "90"
    sys.exit(main(sys.argv[1:]))
