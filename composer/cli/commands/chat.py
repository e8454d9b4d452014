"""Chat with a bundle.

Takes the task named chat, or the only one that is a conversation: what such a task gives under
the name of an input, as its history, is that input's value in the next turn. A line is a turn,
and its answer comes as it is decoded. Ctrl-C stops an answer, of which the conversation keeps
what there is; /reset or /clear starts over, /help prints the keys, Ctrl-D ends. A turn that
fails is reported and forgotten.

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

from composer.cli.flags import BundleFlags, TaskFlags, with_flags
from composer.cli.printing import echo, print_note, print_problems
from composer.cli.progress import show_progress
from composer.cli.results import truncation_warning
from composer.core.errors import FAILED, ComposerError

if TYPE_CHECKING:
    from composer.jobs.converse import Conversation, Reply, Turn

PROMPT = "> "
RESET, HELP = ("/reset", "/clear"), "/help"
HELLO = f"{RESET[0]} or {RESET[1]} starts over, Ctrl-C stops an answer, Ctrl-D ends"


@with_flags()
def command(
    bundle: BundleFlags,
    flags: TaskFlags,
) -> None:
    from composer.jobs.converse import converse, find_turns

    with bundle.open() as opened:
        graph = find_turns(opened, flags.task).graph
        values, options = flags.read(graph)
        with show_progress() as progress:
            talk = converse(
                opened, task=graph.task, inputs=values, options=options, progress=progress
            )
        if sys.stdin.isatty():
            _at_terminal(talk)
        elif failed := _piped(talk):
            raise typer.Exit(failed)


def _at_terminal(talk: Conversation) -> None:
    print_note(f"{talk.bundle.name}: {HELLO}")
    while True:
        try:
            line = _line()
        except EOFError:
            print_note("")
            return
        except KeyboardInterrupt:
            print_note("")
            print_note(HELLO)
            continue
        if line.strip() == HELP:
            print_note(f"{talk.bundle.name}: {HELLO}")
        elif line.strip() in RESET:
            talk.reset()
        elif line.strip():
            try:
                _answer(talk, line)
            except ComposerError as error:
                print_problems(error.problems)
                print_note(f"the turn is forgotten; {RESET[0]} starts over")
            except KeyboardInterrupt:
                print_note("")
                print_note("the turn is forgotten")


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
    pieces: list[str] = []
    with talk.begin(line) as turn:
        with _stopped_by_interrupt(turn, pieces):
            for piece in turn:
                pieces.append(piece)
                echo(piece, end="")
        reply = turn.finish()
    if pieces:
        echo()
    if reply.text.strip() != "".join(pieces).strip():
        echo(reply.text)
    _warn(reply)


def _warn(reply: Reply) -> None:
    warning = truncation_warning(reply.cut_short)
    if warning:
        print_note(warning)


@contextmanager
def _stopped_by_interrupt(turn: Turn, pieces: list[str]) -> Iterator[None]:
    """Let the first Ctrl-C stop an answer, so that the turn is whole; the second interrupts.

    Where there is nothing of an answer yet, the first one does.
    """

    def stop(*_: Any) -> None:
        signal.signal(signal.SIGINT, before)
        if not pieces:
            raise KeyboardInterrupt
        turn.stop()

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
        if line in RESET:
            talk.reset()
        elif line == HELP:
            print_note(f"{talk.bundle.name}: {HELLO}")
        elif line:
            try:
                reply = talk.ask(line)
                _warn(reply)
                echo(" ".join(reply.text.split()))
            except ComposerError as error:
                failed = FAILED
                print_problems(error.problems)
                echo()
    return failed
