"""More than a server can do: a bounded queue, 429, and slots that clients leave free."""

import time
from concurrent.futures import ThreadPoolExecutor

import openai
import pytest

import composer
from tests.fakes import write
from tests.server.gates import GATED, TRANSLATES, gate
from tests.server.serving import WAIT, answer, form, head, serving
from tests.server.test_uploads import KIND, PATH

__all__ = ["gate"]


@pytest.fixture
def bundle(tmp_path, gate):
    with composer.load(write(tmp_path, GATED)) as bundle:
        yield bundle


def until(true, seconds=WAIT):
    """Wait until something is so."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_what_the_queue_does_not_take_is_429(bundle, gate, audio):
    with serving({"m": bundle}, runs=1, queue=2) as running, ThreadPoolExecutor(3) as pool:
        taken = [pool.submit(running.post, [("model", "m")], audio) for _ in range(3)]
        until(lambda: running.state.pool.running == 1 and running.state.pool.waiting == 2)
        assert running.send("GET", "/ready")[0] == 503
        assert running.send("GET", "/health")[0] == 200
        assert b"composer_queue_depth 2.0" in running.send("GET", "/metrics")[2]
        with running.connect() as connection:  # before its body is read
            connection.sendall(head("POST", PATH, {**KIND, "content-length": 10_000}))
            status, headers, body = answer(connection)
        assert status == 429
        assert 1 <= int(headers["retry-after"]) <= 60
        assert body["error"]["code"] == "rate_limit_exceeded"
        gate.open.set()
        assert [each.result()[0] for each in taken] == [200, 200, 200]
        assert running.send("GET", "/ready")[0] == 200


def test_the_client_tries_again_after_the_time_that_the_server_gives(bundle, gate, audio):
    with (
        serving({"m": bundle}, runs=1, queue=0) as running,
        ThreadPoolExecutor(2) as pool,
        openai.OpenAI(base_url=running.url, api_key="x", max_retries=2) as client,
    ):

        def opens():
            until(lambda: b'status="429"' in running.send("GET", "/metrics")[2])
            gate.open.set()

        first = pool.submit(running.post, [("model", "m")], audio)
        until(lambda: running.state.pool.running == 1)
        opened = pool.submit(opens)
        began = time.monotonic()
        made = client.audio.transcriptions.create(model="m", file=audio)
        assert made.text.startswith("w0")
        assert time.monotonic() - began >= 1  # Retry-After is a second at least
        assert first.result()[0] == 200
        opened.result()
        assert b"composer_retries_total 1.0" in running.send("GET", "/metrics")[2]


@pytest.mark.parametrize("stream", ["true", "false"])
@pytest.mark.parametrize("after", [0, 2])
def test_a_client_that_leaves_frees_its_place(bundle, gate, audio, stream, after):
    gate.after = after
    with serving({"m": bundle}, runs=1) as running:
        data = form([("model", "m"), ("stream", stream)], audio)
        with running.connect() as connection:
            connection.sendall(head("POST", PATH, {**KIND, "content-length": len(data)}) + data)
            assert gate.waiting.acquire(timeout=WAIT)
        time.sleep(0.3)
        gate.open.set()
        assert gate.closed.acquire(timeout=WAIT)
        until(lambda: running.state.pool.running == 0)
        assert gate.tokens == after + 1  # it ended at its next token, of 8
        page = running.send("GET", "/metrics")[2].decode()
        assert f'route="{PATH}",status="{200 if stream == "true" and after else 499}"' in page


def test_a_client_that_leaves_the_queue_is_not_run(bundle, gate, audio):
    with serving({"m": bundle}, runs=1, queue=3) as running, ThreadPoolExecutor(1) as pool:
        first = pool.submit(running.post, [("model", "m")], audio)
        until(lambda: running.state.pool.running == 1)
        data = form([("model", "m")], audio)
        with running.connect() as connection:
            connection.sendall(head("POST", PATH, {**KIND, "content-length": len(data)}) + data)
            until(lambda: running.state.pool.waiting == 1)
        until(lambda: running.state.pool.waiting == 0)
        gate.open.set()
        assert first.result()[0] == 200
        until(lambda: running.state.pool.running == 0)
        assert gate.tokens == 8


def test_a_run_that_takes_too_long_is_given_up_and_not_tried_again(bundle, gate, audio):
    with (
        serving({"m": bundle}, runs=1, run_seconds=0.3) as running,
        openai.OpenAI(base_url=running.url, api_key="x", max_retries=2) as client,
    ):
        began = time.monotonic()
        with pytest.raises(openai.InternalServerError) as failed:
            client.audio.transcriptions.create(model="m", file=audio)
        assert time.monotonic() - began < WAIT
        assert (failed.value.status_code, failed.value.code) == (503, "timeout")
        gate.open.set()
        until(lambda: running.state.pool.running == 0)


def test_a_fault_of_a_run_is_ours_and_is_not_tried_again(bundle, gate, audio):
    gate.open.set()
    gate.fails = True
    with (
        serving({"m": bundle}) as running,
        openai.OpenAI(base_url=running.url, api_key="x", max_retries=2) as client,
    ):
        with pytest.raises(openai.InternalServerError) as failed:
            client.audio.transcriptions.create(model="m", file=audio)
        assert failed.value.code == "R500"
        assert "gated.generate failed" in failed.value.body["message"]
        assert gate.tokens == 3
        assert b'composer_errors_total{code="R500"} 1.0' in running.send("GET", "/metrics")[2]


def test_a_reader_of_events_that_stops_reading_holds_nobody_up(bundle, gate, audio):
    gate.open.set()
    with serving({"m": bundle}, runs=1) as running:
        data = form([("model", "m"), ("stream", "true")], audio)
        with running.connect() as connection:
            connection.sendall(head("POST", PATH, {**KIND, "content-length": len(data)}) + data)
            until(lambda: gate.tokens == 8)
            assert running.post([("model", "m")], audio)[0] == 200


def test_a_hundred_at_once_are_answered_or_refused(bundle, gate, audio):
    gate.open.set()
    with serving({"m": bundle}, runs=2, queue=4) as running, ThreadPoolExecutor(30) as pool:
        found = list(pool.map(lambda _: running.post([("model", "m")], audio)[0], range(100)))
        assert set(found) <= {200, 429}
        assert found.count(200) >= 6
        until(lambda: running.state.pool.running == 0)
        assert running.state.pool.waiting == running.state.uploads == 0


def test_a_task_that_translates_is_a_route_of_its_own(tmp_path, gate, audio):
    gate.open.set()
    with (
        composer.load(write(tmp_path, TRANSLATES)) as bundle,
        serving({"m": bundle}) as running,
    ):
        fields = [("model", "m"), ("response_format", "verbose_json")]
        for path, task in (("translations", "translate"), ("transcriptions", "transcribe")):
            status, _, made = running.post(fields, audio, f"/v1/audio/{path}")
            assert (status, made["task"]) == (200, task)


def test_pages_of_other_sites_are_refused(bundle, gate, audio):
    gate.open.set()
    with serving({"m": bundle}) as running:
        own = f"http://127.0.0.1:{running.port}"
        for origin, status in ((own, 200), ("https://a.example", 403), ("null", 403)):
            headers = {"origin": origin, "host": f"127.0.0.1:{running.port}"}
            found, _, body = running.post([("model", "m")], audio, headers=headers)
            assert found == status
        assert body["error"]["code"] == "cross_origin"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"authorization": "Bearer wrong"}, 401),
        ({"authorization": "Bearer sésame"}, 401),
        ({"authorization": "Bearer sesame"}, 200),
        ({"x-api-key": "sesame"}, 200),
    ],
)
def test_a_key_is_wanted_where_one_is_set(bundle, gate, audio, headers, status):
    gate.open.set()
    with serving({"m": bundle}, api_key="sesame") as running:
        reply = running.post([("model", "m")], audio, headers=headers)
        assert reply[0] == status
        if status == 401:
            assert reply[2]["error"]["code"] == "invalid_api_key"
        for path in ("/health", "/ready", "/metrics", "/version"):
            assert running.send("GET", path)[0] == 200
        assert running.send("GET", "/v1/models")[0] == 401
