"""Gather the commands, and turn what they raise into messages and exit codes."""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from composer.cli.printing import print_problems
from composer.cli.signals import INTERRUPTED, interrupt_exit_code
from composer.cli.streams import close_stdout, flush_streams, prepare_streams
from composer.cli.verbs import load_verb, verb_names, verb_summary
from composer.core.errors import FAILED, ComposerError
from composer.core.machine import (
    LIBRARIES,
    refusal_of_system,
    require_address_space,
    require_threads,
)
from composer.core.terminal import escape_control_characters

CLOSED = 141

HELP = """Check, draw and run bundles: manifests that wire model components into one graph.

Try it: composer list, then composer check mega-asr-mini

Exit codes: 0 ok, 1 composer diff found a difference, 2 wrongly called, 3 the bundle is refused,
4 network, 5 a run failed, above 128 it was ended by a signal: 130 by Ctrl-C.
"""


class Commands(TyperGroup):
    """The verbs, each loaded when it is called; none shows a traceback for what a user did."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(verb_names())

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        return load_verb(cmd_name) if cmd_name in verb_names() else None

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, verb_summary(name)) for name in verb_names()])

    def make_context(self, *args: Any, **kwargs: Any) -> Any:
        with _reported():  # it prints the help, too
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: Any) -> Any:
        with _reported():
            require_address_space(LIBRARIES)
            require_threads()
            return super().invoke(ctx)


@contextmanager
def _reported() -> Iterator[None]:
    """Print what is raised as problems, and end with their exit code."""
    try:
        yield
    except typer.BadParameter as error:
        error.message = escape_control_characters(error.message)
        raise
    except ComposerError as error:
        print_problems(error.problems)
        raise typer.Exit(error.exit_code) from None
    except KeyboardInterrupt:
        raise typer.Exit(interrupt_exit_code()) from None
    except BrokenPipeError:
        close_stdout()
        raise typer.Exit(CLOSED) from None
    except (OSError, MemoryError, RuntimeError) as error:
        print_problems([refusal_of_system(error)])
        raise typer.Exit(FAILED) from None


app = typer.Typer(
    cls=Commands,
    help=HELP,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def version(wanted: bool) -> None:
    """Print the version and stop."""
    if wanted:
        from importlib.metadata import version as installed

        typer.echo(f"composer {installed('bundle-composer')}")
        raise typer.Exit


@app.callback()
def composer(
    wants_version: Annotated[
        bool,
        typer.Option("--version", callback=version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Take the options that come before a verb."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    prepare_streams()
    try:
        app(args=arguments, prog_name="composer")
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(bool(end.code))
        if code in (INTERRUPTED, interrupt_exit_code()):
            code = _end_interrupted(is_program=arguments is None)
    except KeyboardInterrupt:
        code = _end_interrupted(is_program=arguments is None)
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        close_stdout()
        return CLOSED
    except OSError:
        # What could not be printed was reported already, and is still in the buffer.
        close_stdout()
        return code or FAILED
    return code


def _end_interrupted(is_program: bool) -> int:
    """End the child processes, and a program at once: a thread in native code would hold it up.

    What is to be tidied up at the end of a program is, before.
    """
    from composer.core.child_process import end_children  # what a child needs takes long to import

    end_children()
    code = interrupt_exit_code()
    if is_program:
        atexit._run_exitfuncs()
        flush_streams()
        os._exit(code)
    return code
