"""Hold a conversation with a bundle.

Takes the task named chat, or the only one that is a conversation: what such a task gives under
the name of an input, as its history, is that input's value in the next turn. A line is a turn,
and its answer comes as it is decoded. Ctrl-C stops an answer, of which the conversation keeps
what was said; /reset begins anew; Ctrl-D ends. A turn that fails is told and forgotten.

Piped, each line of standard input is a turn, empty ones left out, and each answer is a line of
standard output, empty where the turn failed; the exit code is then 5.

Example: composer chat elderwise-mini
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import typer

from composer.cli.opening import BundleFlags, opens
from composer.cli.options import (
    Inputs,
    Settings,
    Task,
)
from composer.cli.printing import note, report, say, waiting
from composer.cli.results import cut_warning
from composer.core.errors import FAILED, ComposerError

if TYPE_CHECKING:
    from composer.cli.conversation import Conversation
    from composer.runtime.stream import Stream

PROMPT = "> "
RESET = "/reset"
HELLO = f"{RESET} begins anew, Ctrl-C stops an answer, Ctrl-D ends"


@opens()
def command(
    choice: BundleFlags,
    input: Inputs = None,
    task: Task = None,
    set: Settings = None,
) -> None:
    from composer.cli.conversation import Conversation, find_turns
    from composer.cli.values import inputs, settings
    from composer.jobs.speech import text_output
    from composer.runtime.inputs import read_inputs

    with choice.open() as opened:
        turns = find_turns(opened, task)
        text_output(turns.graph)
        values = inputs(turns.graph, input)
        if turns.typed in values:
            raise typer.BadParameter(f"type the turns; -i {turns.typed}=... would be but one")
        options = settings(turns.graph, set)
        read_inputs(turns.graph, values, {turns.typed: None})
        with waiting(f"loading {opened.name}"):
            opened.load(turns.graph.task)
        talk = Conversation(opened, turns, values, options)
        if sys.stdin.isatty():
            _at_terminal(talk)
        elif failed := _piped(talk):
            raise typer.Exit(failed)


def _at_terminal(talk: Conversation) -> None:
    note(HELLO)
    while True:
        try:
            line = _line()
        except EOFError:
            note("")
            return
        except KeyboardInterrupt:
            note(f"\n{HELLO}")
            continue
        if line.strip() == RESET:
            talk.reset()
        elif line.strip():
            try:
                _answer(talk, line)
            except ComposerError as error:
                report(error.problems)
                note(f"the turn is forgotten; {RESET} begins anew")
            except KeyboardInterrupt:
                note("\nthe turn is forgotten")


def _line() -> str:
    """Read a line from the terminal, with its editing where both ends are there."""
    if sys.stdout.isatty():
        with suppress(ImportError):  # Windows has none
            import readline  # noqa: F401
        return input(PROMPT)
    sys.stderr.write(PROMPT)
    sys.stderr.flush()
    line = sys.stdin.readline()
    if not line:
        raise EOFError
    return line.rstrip("\r\n")


def _answer(talk: Conversation, line: str) -> None:
    """Print an answer as it comes; what it gives at last is printed too where that differs."""
    from composer.jobs.cut_short import cut_short
    from composer.jobs.speech import text_output

    graph = talk.turns.graph
    pieces = []
    with talk.say(line) as stream, _stopped_by_interrupt(stream):
        for piece in stream:
            pieces.append(piece)
            say(piece, end="")
    result = stream.result
    assert result is not None
    text = str(result.outputs[text_output(graph)])
    if pieces:
        say()
    if text.strip() != "".join(pieces).strip():
        say(text)
    talk.take(result)
    warning = cut_warning(cut_short(result, graph, talk.options))
    if warning:
        note(warning)


@contextmanager
def _stopped_by_interrupt(stream: Stream) -> Iterator[None]:
    """Let the first Ctrl-C stop an answer, so that the turn is whole; the second interrupts."""

    def stop(*_: Any) -> None:
        signal.signal(signal.SIGINT, before)
        stream.stop()

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _piped(talk: Conversation) -> int:
    """Answer line by line; return the exit code."""
    failed = 0
    if hasattr(sys.stdin, "reconfigure"):
        # Bytes that are no text reach the bundle as such, and are refused with their turn.
        sys.stdin.reconfigure(errors="surrogateescape")
    for line in map(str.rstrip, sys.stdin):
        if line == RESET:
            talk.reset()
        elif line:
            try:
                say(" ".join(_whole(talk, line).split()))
            except ComposerError as error:
                failed = FAILED
                report(error.problems)
                say()
    return failed


def _whole(talk: Conversation, line: str) -> str:
    from composer.jobs.cut_short import cut_short
    from composer.jobs.speech import text_output

    with talk.say(line) as stream:
        for _ in stream:
            pass
    assert stream.result is not None
    talk.take(stream.result)
    warning = cut_warning(cut_short(stream.result, talk.turns.graph, talk.options))
    if warning:
        note(warning)
    return str(stream.result.outputs[text_output(talk.turns.graph)])
