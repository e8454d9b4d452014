"""What grows when it is read, what claims too much, and many who do nothing: others are served."""

import io
import struct
import time
import tracemalloc
from contextlib import ExitStack

import numpy as np
import pytest
import soundfile

import composer
from tests.fakes import write
from tests.server.gates import GATED, gate, wav
from tests.server.serving import WAIT, serving

__all__ = ["gate"]


@pytest.fixture
def running(tmp_path, gate):
    gate.open.set()
    with (
        composer.load(write(tmp_path, GATED)) as bundle,
        serving({"m": bundle}, max_seconds=2, runs=1) as running,
    ):
        yield running


def well(running):
    return running.post([("model", "m")], wav())[0] == 200


def silence(seconds, format, subtype):
    """Return silence, which takes next to nothing where it is compressed."""
    file = io.BytesIO()
    with soundfile.SoundFile(file, "w", 48_000, 1, subtype, format=format) as sound:
        for _ in range(seconds // 10):
            sound.write(np.zeros(480_000, np.float32))
    return file.getvalue()


@pytest.mark.parametrize(("format", "subtype"), [("FLAC", "PCM_16"), ("OGG", "OPUS")])
def test_audio_that_is_long_once_decoded_is_refused_at_its_limit(running, format, subtype):
    data = silence(120, format, subtype)
    assert len(data) < 1e6  # 12 MB of samples
    tracemalloc.start()
    status, _, body = running.post([("model", "m")], data)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (status, body["error"]["code"]) == (413, "file_too_large")
    assert most < 8e6
    assert well(running)


@pytest.mark.parametrize(
    ("rate", "status"), [(1, 400), (500, 400), (4_000_000_000, 400), (384_000, 200)]
)
def test_a_rate_that_a_header_claims_buys_nothing(running, rate, status):
    """A low one would be minutes of audio after resampling, a high one a moment."""
    data = bytearray(wav(1.0, 8000))
    at = data.index(b"fmt ") + 12
    data[at : at + 8] = struct.pack("<II", rate, 2 * rate & 0xFFFFFFFF)
    found, _, body = running.post([("model", "m")], bytes(data))
    assert found == status, body
    assert well(running)


def test_hundreds_who_say_nothing_hold_nobody_up(running):
    with ExitStack() as stack:
        for _ in range(300):
            stack.enter_context(running.connect())
        began = time.monotonic()
        assert well(running)
        assert time.monotonic() - began < WAIT


def test_metrics_have_no_names_that_clients_made_up(running):
    for number in range(10):
        assert running.post([("model", f"unknown-{number}")], wav())[0] == 404
        assert running.send("GET", f"/unknown-{number}")[0] == 404
        assert running.send("GET", f"/v1/models/unknown-{number}")[0] == 404
        assert running.send("GET", f"/graph?model=unknown-{number}")[0] == 404
    page = running.send("GET", "/metrics")[2].decode()
    assert "unknown-" not in page
    routes = {
        line.split('route="')[1].split('"')[0] for line in page.splitlines() if "route=" in line
    }
    assert len(routes) <= len(running.state.models.names) + 15


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "m/../m", "M", "m\x00"])
def test_a_path_is_no_model(running, name):
    status, _, body = running.post([("model", name)], wav())
    assert (status, body["error"]["code"]) == (404, "model_not_found")
