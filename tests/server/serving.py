"""Run a server on a thread, and speak HTTP to it by hand."""

import asyncio
import faulthandler
import json
import socket
import threading
from contextlib import contextmanager

import pytest

from composer.server.app import application
from composer.server.served_models import ServedModel, ServedModels
from composer.server.settings import ServerSettings
from composer.server.uvicorn_server import bind_socket, make_server

KEEP = "composer-test-boundary"
WAIT = 120  # seconds, for a machine that is busy


class Running:
    """A server that runs: its address, its state, and requests byte by byte."""

    def __init__(self, app, listening):
        self.state = app.state.composer
        self.port = listening.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/v1"

    def connect(self, timeout=WAIT):
        return socket.create_connection(("127.0.0.1", self.port), timeout)

    def send(self, method, path, body=b"", headers=()):
        """Send one request; return status, headers and body."""
        with self.connect() as connection:
            connection.sendall(head(method, path, {"content-length": len(body), **dict(headers)}))
            connection.sendall(body)
            return answer(connection)

    def post(self, fields, file=b"", path="/v1/audio/transcriptions", headers=()):
        """Send a form."""
        own = {"content-type": f"multipart/form-data; boundary={KEEP}", **dict(headers)}
        return self.send("POST", path, form(fields, file), own)


def head(method, path, headers):
    own = {"host": "test", "connection": "close"}
    headers = {**own, **headers}
    lines = [f"{method} {path} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def form(fields, file=b"", *, file_first=False, filename='; filename="clip.flac"'):
    parts = []
    for name, value in fields:
        parts.append(f'name="{name}"\r\n\r\n'.encode() + value.encode())
    if file:
        part = f'name="file"{filename}\r\ncontent-type: audio/flac\r\n\r\n'.encode() + file
        parts.insert(0 if file_first else len(parts), part)
    lead = f"--{KEEP}\r\ncontent-disposition: form-data; ".encode()
    return b"".join(lead + part + b"\r\n" for part in parts) + f"--{KEEP}--\r\n".encode()


def answer(connection):
    """Read one answer to its end."""
    data = b""
    while piece := connection.recv(65536):
        data += piece
    lead, _, body = data.partition(b"\r\n\r\n")
    first, *lines = lead.decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    if headers.get("transfer-encoding") == "chunked":
        body = _joined(body)
    if headers.get("content-type", "").startswith("application/json"):
        body = json.loads(body)
    return int(first.split()[1]), headers, body


def _joined(chunked):
    found = b""
    while chunked:
        size, _, rest = chunked.partition(b"\r\n")
        found += rest[: int(size, 16)]
        chunked = rest[int(size, 16) + 2 :]
    return found


@contextmanager
def serving(bundles, **settings):
    """Serve bundles by name on any port, until the block ends."""
    models = ServedModels(ServedModel(name, bundle) for name, bundle in bundles.items())
    app = application(models, ServerSettings(**settings))
    started = threading.Event()
    with bind_socket("127.0.0.1", 0) as listening:
        made = make_server(app, started.set)
        loops = []

        async def serve():
            loops.append(asyncio.get_running_loop())
            await made.serve([listening])

        thread = threading.Thread(target=lambda: asyncio.run(serve()))
        thread.start()
        try:
            assert started.wait(WAIT)
            yield Running(app, listening)
        finally:
            made.should_exit = True
            thread.join(WAIT)
            if thread.is_alive():  # say what it waits for
                faulthandler.dump_traceback()
                pytest.fail(f"the server does not stop: {asyncio.all_tasks(loops[0])}")
