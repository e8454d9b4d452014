"""Serve bundles over HTTP as OpenAI's API does.

Clients of OpenAI work as they are: give them the printed address with /v1 as their base URL, and
the name of a bundle as the model. NAME=BUNDLE serves a bundle under another name. At / is a page
that transcribes files and the microphone.

There are /v1/audio/transcriptions, /v1/audio/translations where a task translates,
/v1/audio/alignments and times of words where an aligner is among the bundles,
/v1/chat/completions, /v1/realtime for transcription over a WebSocket, /v1/models, /health, /ready,
/metrics and /version.

The server listens on this machine alone unless --host says otherwise. Where COMPOSER_API_KEY is
set, clients must send it. Ctrl-C or SIGTERM stops it once what runs is done.

Example: composer serve mega-asr-mini
"""

from __future__ import annotations

import os
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from composer.cli.flags import BundleFlags, with_flags
from composer.cli.printing import echo
from composer.cli.progress import show_progress
from composer.core.errors import ComposerError, Problem

if TYPE_CHECKING:
    from composer.server.settings import ServerSettings

KEY = "COMPOSER_API_KEY"
NAMED = re.compile(r"(?P<name>[\w.-]+)=(?P<bundle>.+)")
PACKAGES = ("starlette", "uvicorn", "python_multipart", "prometheus_client", "websockets")


@with_flags()
def command(
    bundle: BundleFlags,
    more: Annotated[
        list[str] | None,
        typer.Argument(metavar="[BUNDLE...]", help="More bundles, with the same options.",
                       show_default=False),
    ] = None,
    host: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Listen on this address; 0.0.0.0 is all.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, metavar="N", help="Listen on this port; 0 is any.")
    ] = 8000,
    jobs: Annotated[
        int, typer.Option("--jobs", min=1, max=64, metavar="N", help="Run N requests at once.")
    ] = 2,
    queue: Annotated[
        int, typer.Option(min=0, max=10_000, metavar="N", help="Let N requests wait; the next is "
                          "answered 429.")
    ] = 16,
    max_upload: Annotated[
        int, typer.Option(min=1, max=10_000, metavar="MB", help="Refuse larger uploads.")
    ] = 100,
    max_audio: Annotated[
        float, typer.Option(min=1, max=21_600, metavar="SECONDS", help="Refuse longer audio.")
    ] = 1800,
    timeout: Annotated[
        float, typer.Option(min=1, max=86_400, metavar="SECONDS", help="Give up a request after "
                            "this time in the queue and running.")
    ] = 600,
    stop_after: Annotated[
        int, typer.Option(min=0, max=3600, metavar="SECONDS", help="When stopping, wait so long "
                          "for requests that run.")
    ] = 30,
) -> None:  # fmt: skip
    _require_packages()
    from composer.server.settings import MEGABYTE, ServerSettings
    from composer.server.uvicorn_server import interrupt_on_sigterm

    settings = ServerSettings(
        runs=jobs,
        queue=queue,
        max_upload=max_upload * MEGABYTE,
        max_seconds=max_audio,
        run_seconds=timeout,
        stop_seconds=stop_after,
        api_key=os.environ.get(KEY) or None,
    )
    with interrupt_on_sigterm():
        _serve(bundle, [bundle.name, *(more or ())], settings, host, port)


def _serve(
    bundle: BundleFlags, names: list[str], settings: ServerSettings, host: str, port: int
) -> None:
    from composer.server.app import application
    from composer.server.served_models import ServedModel, ServedModels
    from composer.server.uvicorn_server import address_of, bind_socket, serve

    served = []
    for each in names:
        named = NAMED.fullmatch(each)
        flags = replace(bundle, name=named["bundle"] if named else each)
        opened = flags.open()
        served.append(ServedModel(named["name"] if named else opened.name, opened))
    models = ServedModels(served)
    try:
        with bind_socket(host, port) as listening:
            with show_progress() as progress:
                models.load(progress)
            where = address_of(listening)
            app = application(models, settings)
            serve(app, listening, lambda: echo(f"serving {', '.join(models.names)} at {where}"))
    finally:
        models.close()


def _require_packages() -> None:
    from importlib.util import find_spec

    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        message = f"serving needs {', '.join(missing)}, which is not here"
        hint = "pip install 'bundle-composer[serve]'"
        raise ComposerError(Problem("R598", message, hint=hint))
