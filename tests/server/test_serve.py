"""`composer serve` as a process: its start, its stop, and what it leaves behind."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import openai
import pytest

from composer.sources.shipped import shipped_folder
from tests.cli.conftest import cli
from tests.server.conftest import CLIP
from tests.server.serving import WAIT

__all__ = ["cli"]

FOREGROUND = signal.getsignal(signal.SIGINT) != signal.SIG_IGN


@contextmanager
def serve(*arguments, **environment):
    """Start a server; yield its process and the line that it prints."""
    command = [sys.executable, "-m", "composer", "serve", *arguments, "--port", "0"]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )
    try:
        yield process, process.stdout.readline()
    finally:
        process.kill()
        process.communicate()


def url(line):
    return re.search(r"http://\S+", line)[0] + "/v1"


def ended(process, sent, seconds=WAIT):
    """Send a signal; return the exit code and what was printed to stderr."""
    process.send_signal(sent)
    _, err = process.communicate(timeout=seconds)
    return process.returncode, err


def threads_and_children(process):
    tasks = f"/proc/{process.pid}/task"
    found = []
    for each in os.listdir(tasks) if os.path.isdir(tasks) else ():
        with open(f"{tasks}/{each}/children") as file:
            found += file.read().split()
    return found


def test_it_says_where_it_is_and_stops_once_what_runs_is_done():
    with serve("mega-asr-mini", "other=mega-asr-mini", "--jobs", "2") as (process, line):
        assert re.fullmatch(r"serving mega-asr-mini, other at http://127\.0\.0\.1:\d+\n", line), (
            process.stderr.read()
        )
        children = threads_and_children(process)
        client = openai.OpenAI(base_url=url(line), api_key="x", max_retries=0)
        with ThreadPoolExecutor(3) as pool:
            running = []
            for model in ("mega-asr-mini", "other", "other"):
                running.append(
                    pool.submit(client.audio.transcriptions.create, model=model, file=CLIP)
                )
            time.sleep(0.3)
            code, err = ended(process, signal.SIGTERM)
            texts = [each.result().text for each in running]
        client.close()
    assert texts == ["nine one eight one one eight three"] * 3
    assert (code, err) == (0, "")
    for child in children:
        assert not os.path.exists(f"/proc/{child}")


@pytest.mark.skipif(not FOREGROUND, reason="SIGINT is ignored in this process, and in its children")
def test_an_interrupt_stops_it_too():
    with serve("mega-asr-mini") as (process, line):
        assert "serving" in line
        assert ended(process, signal.SIGINT) == (0, "")


def test_a_key_comes_from_the_environment():
    with serve("mega-asr-mini", COMPOSER_API_KEY="sesame") as (process, line):
        for key, raises in (("wrong", True), ("sesame", False)):
            with openai.OpenAI(base_url=url(line), api_key=key, max_retries=0) as client:
                if raises:
                    with pytest.raises(openai.AuthenticationError) as refused:
                        client.models.list()
                    assert refused.value.code == "invalid_api_key"
                else:
                    assert client.models.list().data[0].id == "mega-asr-mini"
        assert ended(process, signal.SIGTERM)[0] == 0


def test_a_bundle_that_is_refused_is_refused_before_anything_listens(cli, tmp_path):
    (tmp_path / "bundle.yaml").write_text("composer: 1\nname: x\n")
    code, out, err = cli("serve", tmp_path, "--port", "0")
    assert (code, out) == (3, "")
    assert "bundle.yaml:1" in err


def test_a_port_that_is_taken_is_refused_before_the_bundle_is_loaded(cli):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        began = time.monotonic()
        code, out, err = cli("serve", "mega-asr-mini", "--port", port)
        assert (code, out) == (5, "")
        assert f"R599 cannot listen on 127.0.0.1, port {port}: Address already in use" in err
        assert "choose another --port, or 0 for any" in err
        assert time.monotonic() - began < WAIT


def test_two_bundles_need_two_names(cli):
    code, out, err = cli("serve", "mega-asr-mini", "mega-asr-mini", "--port", "0")
    assert (code, out) == (2, "")
    assert "R542 two bundles are named mega-asr-mini" in err
    assert "composer serve NAME=BUNDLE" in err


def test_without_its_packages_it_says_what_to_install(cli, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    code, out, err = cli("serve", "mega-asr-mini")
    assert (code, out) == (5, "")
    assert err == (
        "R598 serving needs starlette, uvicorn, python_multipart, prometheus_client, websockets, "
        "which is not here\n    hint: pip install 'bundle-composer[serve]'\n"
    )


def resident(process):
    with open(f"/proc/{process.pid}/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.slow
@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="memory is read from /proc")
def test_memory_stays_flat_over_hundreds_of_requests():
    """Right ones, wrong ones, streams, and clients that leave."""
    with serve("mega-asr-mini", "--jobs", "2") as (process, line):
        client = openai.OpenAI(base_url=url(line), api_key="x", max_retries=4)
        port = int(line.rpartition(":")[2])

        def one(number):
            kind = number % 4
            if kind == 0:
                client.audio.transcriptions.create(model="mega-asr-mini", file=CLIP)
            elif kind == 1:
                list(
                    client.audio.transcriptions.create(
                        model="mega-asr-mini", file=CLIP, stream=True
                    )
                )
            elif kind == 2:
                with pytest.raises(openai.BadRequestError):
                    client.audio.transcriptions.create(model="mega-asr-mini", file=b"x" * 500_000)
            else:
                with socket.create_connection(("127.0.0.1", port)) as gone:
                    gone.sendall(
                        b"POST /v1/audio/transcriptions HTTP/1.1\r\nhost: x\r\n"
                        b"content-length: 100000\r\n\r\n" + bytes(1000)
                    )

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(one, range(120)))
            before = resident(process)
            list(pool.map(one, range(400)))
        grown = resident(process) - before
        client.close()
        assert ended(process, signal.SIGTERM)[0] == 0
    assert grown < 20_000_000, grown
    assert threading.active_count() < 20


def test_serving_is_not_imported_by_other_verbs():
    lead = "import sys; from composer.cli import main; "
    program = f"{lead}main(['check', sys.argv[1]]); print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program, str(shipped_folder("bundles") / "mega-asr-mini")],
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert loaded & {"starlette", "uvicorn", "prometheus_client", "websockets", "anyio"} == set()
