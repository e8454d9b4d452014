"""Run the examples of a page in order, as a reader would, and write down what they print."""

from __future__ import annotations

import io
import os
import re
import shlex
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

from composer.cli import main as composer

STEP = re.compile(
    r"(?:`(?P<file>[^`\n]+)`:\n\n)?```(?P<language>python|yaml|diff|text)\n(?P<body>.*?)```\n", re.S
)
# What another machine, another day or another release changes: times, versions, last digits.
VOLATILE = (
    (re.compile(r"(?m)^(?:speed|bundle|audio +[\d.]+ s,) .*\n"), ""),
    (re.compile(r"(?ms)^versions .*?(?=^\n|\Z)"), ""),
    (re.compile(r"\b\d(?:\.\d+)?e[+-]\d\d\b"), "~"),
    (re.compile(r"\b(l2|peak|gain|angle) [\d.e-]+ is over"), r"\1 ~ is over"),
)


def played(page: str) -> str:
    """Return a page with what its examples print now, in the working folder.

    A block of YAML that is introduced by a file's name is written there, a block of diff changes
    that file, a block of Python runs. In a block of text that begins with `$ composer`, each such
    line runs and is followed by what it prints. Names of one block of Python are known to the next.
    """
    names: dict[str, object] = {}
    return STEP.sub(lambda step: _step(step, names), page)


def comparable(text: str) -> str:
    """Return a text without what is not the same everywhere."""
    for pattern, replacement in VOLATILE:
        text = pattern.sub(replacement, text)
    return text


def output(command: str, results: bool = True) -> str:
    """Run one command line of composer here and return what it prints."""
    os.environ["HF_HUB_OFFLINE"] = "1"  # an example shows the same wherever it runs
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out if results else io.StringIO()), redirect_stderr(err):
        composer(shlex.split(command, comments=True)[1:])
    return err.getvalue() + out.getvalue()


def _step(step: re.Match[str], names: dict[str, object]) -> str:
    body, whole = step["body"], step[0]
    match step["language"]:
        case "python":
            exec(compile(body, "page", "exec"), names)
        case "yaml" if step["file"]:
            path = Path(step["file"])
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(body)
        case "diff" if step["file"]:
            _change(Path(step["file"]), body)
        case "text" if body.startswith("$ composer"):
            printed = _printed(body)
            if comparable(printed) != comparable(body):
                return whole.replace(body, printed)
    return whole


def _printed(body: str) -> str:
    """Return the commands of a block, each with what it prints, with empty lines between."""
    commands = [line for line in body.splitlines() if line.startswith("$ composer")]
    return "\n".join(f"{command}\n{output(command[2:])}" for command in commands)


def _change(path: Path, body: str) -> None:
    """Replace the lines of a file that a diff removes by those that it adds."""
    lines = body.splitlines()
    removed = "\n".join(line[1:] for line in lines if line.startswith("-"))
    added = "\n".join(line[1:] for line in lines if line.startswith("+"))
    text = path.read_text()
    if text.count(removed) != 1:
        raise ValueError(f"{path}: these lines are there {text.count(removed)} times:\n{removed}")
    path.write_text(text.replace(removed, added))
