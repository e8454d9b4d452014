"""`composer transcribe`."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from composer.cli.opening import BundleOptions, opens
from composer.cli.options import (
    Inputs,
    Settings,
    Task,
)
from composer.cli.printing import (
    append,
    as_json,
    note,
    problem_json,
    report,
    say,
    unwritable,
    waiting,
    write,
)
from composer.cli.progress import progress
from composer.cli.results import Options, audio_input, cut_short, plains, text_output
from composer.core.errors import FAILED, ComposerError

if TYPE_CHECKING:
    from composer.graph.graph import Graph
    from composer.runtime.run import Result

TASK = "transcribe"


class Format(StrEnum):
    """How transcripts are written."""

    txt = "txt"
    json = "json"
    jsonl = "jsonl"


@opens()
def transcribe(
    choice: BundleOptions,
    clips: Annotated[
        list[str], typer.Argument(metavar="CLIP...", help="Audio files.", show_default=False)
    ],
    format: Annotated[
        Format,
        typer.Option("-f", "--format", help="txt: a line for each clip. json: one array, or "
                     "with -o an object in each file. jsonl: an object a line."),
    ] = Format.txt,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output-dir", metavar="DIR", help="Write a file for each clip, named "
                     "after it, or transcripts.jsonl."),
    ] = None,
    input: Inputs = None,
    language: Annotated[
        str | None,
        typer.Option("-l", "--language", metavar="NAME", help="Short for -i language=NAME."),
    ] = None,
    task: Task = None,
    jobs: Annotated[
        int, typer.Option(min=1, max=64, metavar="N", help="Keep so many clips in flight.")
    ] = 2,
    set: Settings = None,
) -> None:  # fmt: skip
    """Transcribe audio files.

    The bundle is loaded once, and transcripts come in the order of the clips. A clip that cannot
    be read or run does not stop the others: its problem is printed, its line stays empty, and the
    exit code is 5. What is done is written at once, so that an interrupt loses none of it.

    In json and jsonl a clip is an object with audio, text, outputs (all that the bundle gives),
    finish_reason, tokens and seconds; one that failed has audio and error, a list of problems.

    Example: composer transcribe mega-asr-mini *.wav -f jsonl -o transcripts
    """
    from composer.cli.values import inputs, settings
    from composer.runtime.inputs import read_inputs

    _distinct(clips, format, output)
    if language is not None:
        input = [*(input or ()), f"language={language}"]
    with choice.bundle() as opened:
        name = opened.task(TASK if task is None and TASK in opened.tasks else task)
        graph = opened.checked.graphs[name]
        audio, text = audio_input(graph), text_output(graph)
        values = inputs(graph, input)
        if audio in values:
            raise typer.BadParameter(f"name the clips as arguments, not by -i {audio}=...")
        options = settings(graph, set)
        read_inputs(graph, values, {audio: None})
        sink = _Sink(graph, options, format, output, text)
        sink.open()
        opened.fetch(name)
        with waiting(f"loading {opened.name}"):
            opened.load(name)
        sink.empty()
        items = ({**values, audio: clip} for clip in clips)
        results = opened.map(items, in_flight=jobs, task=name, options=options)
        try:
            with progress("transcribing", len(clips), output is None) as advance:
                for clip, result in zip(clips, results, strict=True):
                    sink.take(clip, result)
                    advance()
        finally:
            sink.close()
    if sink.failed:
        note(f"{sink.failed} of {len(clips)} clips failed")
        raise typer.Exit(FAILED)


@dataclass
class _Sink:
    """Where transcripts go: stdout, or files of a folder."""

    graph: Graph
    options: Options
    format: Format
    folder: Path | None
    text: str
    failed: int = 0
    held: list[dict[str, Any]] = field(default_factory=list)

    @property
    def lines(self) -> Path | None:
        """Return the one file that all clips are written to, a line each."""
        if self.folder is None or self.format is not Format.jsonl:
            return None
        return self.folder / "transcripts.jsonl"

    def open(self) -> None:
        """Raise ComposerError where nothing can be written; what is there already stays."""
        if self.folder:
            _make(self.folder)
        if self.lines:
            append(self.lines, "")

    def empty(self) -> None:
        """Take away what an earlier run wrote, once this one has loaded."""
        if self.lines:
            write(self.lines, "")

    def take(self, clip: str, result: Result | ComposerError) -> None:
        """Write one clip's transcript, or its problems."""
        if isinstance(result, ComposerError):
            self.failed += 1
            note(f"{clip}:")
            report(result.problems)
            problems = [problem_json(problem) for problem in result.problems]
            entry: dict[str, Any] = {"audio": clip, "error": problems}
        else:
            warning = cut_short(result, self.graph, self.options, clip)
            if warning:
                note(warning)
            entry = {
                "audio": clip,
                "text": result.outputs[self.text],
                "outputs": plains(result.outputs),
                "finish_reason": result.finish_reason,
                "tokens": result.tokens,
                "seconds": round(sum(result.timings.values()), 3),
            }
        self.put(clip, entry)

    def put(self, clip: str, entry: dict[str, Any]) -> None:
        if self.format is Format.txt:
            self.plain(clip, entry)
        elif self.lines:
            append(self.lines, as_json(entry, None) + "\n")
        elif self.folder:
            write(self.folder / _file(clip, self.format), as_json(entry) + "\n")
        elif self.format is Format.json:
            self.held.append(entry)
        else:
            say(as_json(entry, None))

    def plain(self, clip: str, entry: dict[str, Any]) -> None:
        """Write only the text; on stdout it is one line, so that line N is clip N."""
        if self.folder is None:
            say(" ".join(entry.get("text", "").split()))
        elif "text" in entry:
            write(self.folder / _file(clip, self.format), entry["text"] + "\n")

    def close(self) -> None:
        """Write what can only be written whole."""
        if self.folder is None and self.format is Format.json:
            say(as_json(self.held))


def _file(clip: str, format: Format) -> str:
    return f"{Path(clip).stem}.{format.value}"


def _distinct(clips: list[str], format: Format, output: Path | None) -> None:
    """Refuse two clips that would be written to one file."""
    if output is None or format is Format.jsonl:
        return
    seen: dict[str, str] = {}
    for clip in clips:
        name = _file(clip, format)
        # File systems of macOS and Windows take A.txt and a.txt for one file.
        if name.casefold() in seen:
            raise typer.BadParameter(
                f"{seen[name.casefold()]} and {clip} would both be written to {output / name}; "
                "write them to two folders, or take -f jsonl"
            )
        seen[name.casefold()] = clip


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(folder, error) from None
