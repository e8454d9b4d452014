"""Bodies that are too large, too slow, broken off, or no forms: refused, and nothing stays."""

import os
import socket
import struct
import time
from contextlib import suppress

import openai
import pytest

import composer
from tests.fakes import write
from tests.server.gates import GATED, gate, wav
from tests.server.serving import KEEP, WAIT, answer, form, head, serving

__all__ = ["gate"]

PATH = "/v1/audio/transcriptions"
KIND = {"content-type": f"multipart/form-data; boundary={KEEP}"}


@pytest.fixture
def running(tmp_path, gate):
    gate.open.set()
    settings = {"max_upload": 20_000, "max_seconds": 2, "body_pause": 0.4, "body_grace": 0.4}
    with (
        composer.load(write(tmp_path, GATED)) as bundle,
        serving({"m": bundle}, **settings) as running,
    ):
        yield running


def begin(connection, size=None, chunked=False):
    """Send the head of a request and the first bytes of its form."""
    length = {"transfer-encoding": "chunked"} if chunked else {"content-length": size}
    connection.sendall(head("POST", PATH, {**KIND, **length}))


def well(running, audio):
    """Return whether the server answers as ever, and keeps nothing of what came before."""
    until = time.monotonic() + WAIT
    while running.state.uploads or running.state.pool.running:
        assert time.monotonic() < until
        time.sleep(0.01)
    status, _, made = running.post([("model", "m")], audio)
    return status == 200 and made["text"].startswith("w0 w1")


def error_of(reply):
    status, _, body = reply
    return status, body["error"]["param"], body["error"]["code"]


def test_a_length_over_the_limit_is_refused_before_the_body_is_read(running, audio):
    with running.connect() as connection:
        begin(connection, 10**12)
        assert error_of(answer(connection)) == (413, "file", "file_too_large")
    assert well(running, audio)


def test_a_body_without_a_length_is_refused_as_soon_as_it_is_too_long(running, audio):
    with running.connect() as connection:
        begin(connection, chunked=True)
        data = form([("model", "m")], bytes(30_000))[:-30]
        connection.sendall(f"{len(data):x}\r\n".encode() + data + b"\r\n")  # and it goes on
        assert error_of(answer(connection)) == (413, "file", "file_too_large")
    assert well(running, audio)


def test_the_client_of_openai_reads_the_refusal_of_a_large_file(running):
    with openai.OpenAI(base_url=running.url, api_key="x", max_retries=0) as client:
        for size in (30_000, 5_000_000):
            with pytest.raises(openai.APIStatusError) as refused:
                client.audio.transcriptions.create(model="m", file=bytes(size))
            assert (refused.value.status_code, refused.value.code) == (413, "file_too_large")


def test_audio_that_is_long_once_decoded_is_refused(running, audio):
    reply = running.post([("model", "m")], wav(2.2, 4000))
    assert error_of(reply) == (413, "file", "file_too_large")
    assert "longer than 2 s" in reply[2]["error"]["message"]
    assert well(running, audio)


def test_a_body_that_stops_coming_is_given_up(running, audio):
    with running.connect() as connection:
        begin(connection, 1000)
        connection.sendall(form([("model", "m")], audio)[:300])
        assert error_of(answer(connection)) == (408, None, "timeout")
    assert well(running, audio)


def trickle(connection, data):
    for at in range(0, len(data), 10):
        connection.sendall(data[at : at + 10])
        time.sleep(0.05)


def test_a_body_that_trickles_is_given_up(running, audio):
    with running.connect() as connection:
        begin(connection, 19_000)
        data = form([("model", "m")], bytes(18_000))
        with pytest.raises(ConnectionError):
            trickle(connection, data)
    assert well(running, audio)


@pytest.mark.parametrize("reset", [False, True])
def test_a_client_that_breaks_off_leaves_nothing(running, audio, reset, caplog):
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    for _ in range(5):
        with running.connect() as connection:
            begin(connection, 5000)
            connection.sendall(form([("model", "m")], audio)[:2000])
            if reset:
                linger = struct.pack("ii", 1, 0)
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    assert well(running, audio)
    page = running.send("GET", "/metrics")[2].decode()
    assert f'route="{PATH}",status="499"}} 5.0' in page
    assert "composer_errors_total{" not in page  # it is no fault of the server's
    assert not caplog.records
    if before:
        assert len(os.listdir("/proc/self/fd")) <= before + 2


FORMS = {
    "no boundary": (b"x", "multipart/form-data", "multipart/form-data with a boundary"),
    "json": (b"{}", "application/json", "multipart/form-data with a boundary"),
    "nothing": (b"", None, "the form ends before its last boundary"),
    "another boundary": (b"--x\r\n\r\n", None, "the form cannot be read"),
    "no last boundary": (form([("model", "m")])[:-6], None, "the form ends before its last"),
    "no name": (form([]).replace(b"--\r\n", b"\r\na: b\r\n\r\nx\r\n"), None, "has no name"),
    "a long text": (form([("prompt", "x" * 70_000)]), None, "'prompt' is longer than"),
    "many fields": (form([("a", "b")] * 101), None, "more than 100 fields"),
    "two files": (
        form([("model", "m")], b"a").replace(b"--\r\n", b"\r\n") + form([], b"b")[len(KEEP) + 4 :],
        None,
        "several files",
    ),
    "another file": (form([], b"a").replace(b'"file"', b'"fil"'), None, "no file 'fil'"),
    "twice": (form([("model", "m"), ("model", "n")], b"x"), None, "'model' is given 2 times"),
    "bytes": (form([("model", "m?")]).replace(b"?", b"\xff"), None, "'model' is not UTF-8"),
}


@pytest.mark.parametrize("name", FORMS)
def test_what_is_no_form_is_refused(running, audio, name):
    body, kind, message = FORMS[name]
    status, _, made = running.send("POST", PATH, body, {"content-type": kind} if kind else KIND)
    assert status == 400, made
    assert message in made["error"]["message"]
    assert well(running, audio)


def test_a_wrong_model_is_refused_before_its_file_has_come(running):
    with running.connect() as connection:
        begin(connection, 18_000)
        connection.sendall(form([("model", "none")], bytes(15_000))[:500])
        assert error_of(answer(connection)) == (404, "model", "model_not_found")


def test_a_file_name_is_no_path(running, audio, tmp_path):
    body = form([("model", "m")], audio, filename='; filename="../../x\\0/etc/passwd"')
    assert running.send("POST", PATH, body, KIND)[0] == 200


def test_heads_that_are_too_long_are_refused(running, audio):
    with running.connect() as connection, suppress(OSError):
        connection.sendall(head("POST", PATH, {"x": "y" * 200_000}))
        assert answer(connection)[0] == 400
    assert well(running, audio)
