"""Realtime transcription: what a client sends over a WebSocket, and the events that come back."""

import base64
import json
import struct
import time
from contextlib import contextmanager

import numpy as np
import openai
import pytest
import soundfile
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

import composer
from composer.jobs.words import word_json
from composer.server.realtime_audio import wav_bytes
from tests.fakes import write
from tests.server.conftest import CLIP
from tests.server.gates import GATED, gate
from tests.server.serving import WAIT, serving

__all__ = ["gate"]

MODEL = "mega-asr-mini"
AUDIO = "conversation.item.input_audio_transcription"
AT = "session.audio.input"


class Client:
    def __init__(self, socket):
        self.socket = socket

    def send(self, kind, **fields):
        self.socket.send(json.dumps({"type": kind, **fields}))

    def append(self, data):
        self.send("input_audio_buffer.append", audio=base64.b64encode(data).decode())

    def update(self, **input):
        session = {"type": "transcription", "audio": {"input": input}}
        self.send("session.update", session=session, event_id="mine")
        return self.next()

    def next(self):
        event = json.loads(self.socket.recv(timeout=WAIT))
        assert event["event_id"].startswith("event_")
        return event

    def until(self, kind):
        """Return the events up to one of a kind."""
        found = [self.next()]
        while found[-1]["type"] != kind:
            found.append(self.next())
        return found


@contextmanager
def session(running, query=f"model={MODEL}&intent=transcription", **kwargs):
    url = f"ws://127.0.0.1:{running.port}/v1/realtime?{query}"
    with connect(url, open_timeout=WAIT, **kwargs) as socket:
        client = Client(socket)
        created = client.next()
        assert created["type"] == "session.created"
        client.created = created["session"]
        yield client


@pytest.fixture(scope="module")
def pcm():
    """Return a clip as a client with a microphone sends it: 24 kHz, 16 bits."""
    audio = composer.read_audio(CLIP).resample(24_000)
    return (audio.samples * 32767).astype("<i2").tobytes()


def transcribed(bundles, data, kind="audio/pcm", rate=24_000):
    return bundles[MODEL].run(audio=wav_bytes(data, kind, rate)).text


def test_a_turn_that_is_committed_is_transcribed(served, bundles, pcm):
    with session(served) as client:
        for at in range(0, len(pcm), 4801):  # half a sample at each cut
            client.append(pcm[at : at + 4801])
        client.send("input_audio_buffer.commit")
        events = client.until(f"{AUDIO}.completed")
    kinds = [event["type"] for event in events]
    assert kinds[:3] == [
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.done",
    ]
    assert set(kinds[3:-1]) == {f"{AUDIO}.delta"}
    (item,) = {event.get("item_id") or event["item"]["id"] for event in events}
    done = events[-1]
    assert item.startswith("item_")
    assert done["transcript"] == transcribed(bundles, pcm) == "nine one eight one one eight three"
    assert "".join(event["delta"] for event in events[3:-1]) == done["transcript"]
    assert done["usage"]["type"] == "tokens"
    assert done["languages"] == [{"code": "en"}]


def test_the_session_is_shown_whole(served):
    with session(served) as client:
        assert client.created["type"] == "transcription"
        input = client.created["audio"]["input"]
        assert input["format"] == {"type": "audio/pcm", "rate": 24_000}
        assert (input["transcription"], input["turn_detection"]) == ({"model": MODEL}, None)
        updated = client.update(
            format={"type": "audio/pcm", "rate": 16_000},
            transcription={"language": "de", "keywords": ["a", "b"]},
        )
        assert updated["type"] == "session.updated"
        assert updated["session"]["id"] == client.created["id"]
        shown = updated["session"]["audio"]["input"]
        assert shown["format"]["rate"] == 16_000
        assert shown["transcription"] == {"model": MODEL, "language": "de", "keywords": ["a", "b"]}


@pytest.mark.parametrize(
    ("kind", "rate", "subtype"),
    [("audio/pcm", 16_000, "PCM_16"), ("audio/pcmu", 8000, "ULAW"), ("audio/pcma", 8000, "ALAW")],
)
def test_other_formats(served, tmp_path, kind, rate, subtype):
    samples = composer.read_audio(CLIP).resample(rate).samples
    soundfile.write(tmp_path / "a.wav", samples, rate, subtype)
    size = len(samples) * (2 if subtype == "PCM_16" else 1)
    data = (tmp_path / "a.wav").read_bytes()[-size - size % 2 :][:size]
    np.testing.assert_array_equal(
        composer.read_audio(wav_bytes(data, kind, rate)).samples,
        composer.read_audio(tmp_path / "a.wav").samples,
    )
    with session(served) as client:
        assert client.update(format={"type": kind, "rate": rate})["type"] == "session.updated"
        client.append(data)
        client.send("input_audio_buffer.commit")
        done = client.until(f"{AUDIO}.completed")[-1]
    assert done["transcript"].split()[:3] == ["nine", "one", "eight"]


def test_several_items_are_open_at_once(served, pcm):
    with session(served) as client:
        for _ in range(3):
            client.append(pcm)
            client.send("input_audio_buffer.commit")
        events = []
        while sum(event["type"] == f"{AUDIO}.completed" for event in events) < 3:
            events.append(client.next())
    committed = [e for e in events if e["type"] == "input_audio_buffer.committed"]
    order = [event["item_id"] for event in committed]
    assert [event["previous_item_id"] for event in committed] == [None, *order[:2]]
    assert {e["item_id"] for e in events if e["type"] == f"{AUDIO}.completed"} == set(order)


def test_what_is_cleared_is_gone(served, pcm):
    with session(served) as client:
        client.append(pcm)
        client.send("input_audio_buffer.clear")
        assert client.next()["type"] == "input_audio_buffer.cleared"
        client.send("input_audio_buffer.commit", event_id="e1")
        event = client.next()
        assert event["type"] == "error"
        assert event["error"]["code"] == "input_audio_buffer_commit_empty"
        assert event["error"]["event_id"] == "e1"
        client.append(pcm)  # and the session goes on
        client.send("input_audio_buffer.commit")
        assert client.until(f"{AUDIO}.completed")


# The client calls websockets in a way that its version 17 warns of.
@pytest.mark.filterwarnings(r"ignore:connect\(\) must be used:DeprecationWarning")
def test_the_client_of_openai_transcribes(served, pcm):
    with (
        openai.OpenAI(base_url=served.url, api_key="x") as client,
        client.realtime.connect(model=MODEL, extra_query={"intent": "transcription"}) as connection,
    ):
        connection.session.update(
            session={
                "type": "transcription",
                "audio": {
                    "input": {
                        "transcription": {"model": MODEL, "language": "en"},
                        "turn_detection": None,
                    }
                },
            }
        )
        connection.input_audio_buffer.append(audio=base64.b64encode(pcm).decode())
        connection.input_audio_buffer.commit()
        for event in connection:
            if event.type == f"{AUDIO}.completed":
                break
    assert event.transcript == "nine one eight one one eight three"
    assert event.usage.output_tokens == 7


def spoken_twice(pcm, level):
    """Return two turns with pauses before, between and after, and where each begins and ends."""
    pauses = []
    for seconds in (0.6, 1.2, 0.9):
        noise = np.random.default_rng(1).normal(0, level, round(seconds * 24_000))
        pauses.append((noise * 32767).astype("<i2").tobytes())
    before, between, after = pauses
    parts = (before, pcm, between, pcm, after)
    at = np.cumsum([0, *map(len, parts)]) / 48
    return b"".join(parts), [(at[1], at[2]), (at[3], at[4])]


@pytest.mark.filterwarnings(r"ignore:connect\(\) must be used:DeprecationWarning")
@pytest.mark.parametrize("level", [0.0, 1e-3])
def test_turns_are_found_where_somebody_speaks(served, pcm, level):
    """As OpenAI's client asks for it; a turn ends after half a second without speech."""
    data, spans = spoken_twice(pcm, level)
    with (
        openai.OpenAI(base_url=served.url, api_key="x") as client,
        client.realtime.connect(model=MODEL, extra_query={"intent": "transcription"}) as connection,
    ):
        turns = {"type": "server_vad", "silence_duration_ms": 500}
        session = {"type": "transcription", "audio": {"input": {"turn_detection": turns}}}
        connection.session.update(session=session)
        for at in range(0, len(data), 4801):
            audio = base64.b64encode(data[at : at + 4801]).decode()
            connection.input_audio_buffer.append(audio=audio)
        events = []
        while sum(event.type == f"{AUDIO}.completed" for event in events) < 2:
            events.append(connection.recv())
    assert events[1].session.audio.input.turn_detection.prefix_padding_ms == 300
    by_kind = {}
    for event in events:
        by_kind.setdefault(event.type.rpartition(".")[2], []).append(event)
    items = [event.item_id for event in by_kind["committed"]]
    for kind in ("speech_started", "speech_stopped"):
        assert [event.item_id for event in by_kind[kind]] == items
    for (start, end), began, stopped in zip(
        spans, by_kind["speech_started"], by_kind["speech_stopped"], strict=True
    ):
        assert abs(began.audio_start_ms - (start - 300)) < 120
        assert abs(stopped.audio_end_ms - (end + 500)) < 200
    texts = {event.item_id: event.transcript for event in by_kind["completed"]}
    assert [texts[item] for item in items] == ["nine one eight one one eight three"] * 2


def test_a_turn_may_be_committed_before_it_ends(served, pcm):
    data, _ = spoken_twice(pcm, 1e-3)
    with session(served) as client:
        assert client.update(turn_detection={"type": "server_vad"})["type"] == "session.updated"
        client.append(data[: 28_800 + len(pcm)])
        began = client.until("input_audio_buffer.speech_started")[-1]
        assert client.update(turn_detection=None)["error"]["param"] == f"{AT}.turn_detection"
        client.send("input_audio_buffer.commit")
        done = client.until(f"{AUDIO}.completed")[-1]
        assert done["item_id"] == began["item_id"]
        assert done["transcript"] == "nine one eight one one eight three"
        client.append(data[28_800 + len(pcm) :])
        assert client.next()["audio_start_ms"] == pytest.approx(600 + 1485 + 1200 - 300, abs=120)
        client.until(f"{AUDIO}.completed")
        client.append(bytes(9600))  # silence is no turn, and is not kept
        assert client.update(turn_detection=None)["type"] == "session.updated"


def test_an_item_has_words_and_logprobs_where_they_are_asked_for(bundles, pcm):
    logprobs = f"{AUDIO.removeprefix('conversation.')}.logprobs"
    names = ("mega-asr-mini", "aligner-mini")
    with (
        composer.load("aligner-mini") as aligner,
        serving(dict(zip(names, (bundles[MODEL], aligner), strict=True))) as running,
        session(running) as client,
    ):
        client.send("session.update", session={"include": [logprobs]})
        assert client.next()["session"]["include"] == [logprobs]
        shown = client.update(transcription={"timestamp_granularities": ["word"]})["session"]
        assert shown["audio"]["input"]["transcription"] == {
            "model": MODEL, "timestamp_granularities": ["word"],
        }  # fmt: skip
        assert shown["include"] == [logprobs]
        client.append(pcm)
        client.send("input_audio_buffer.commit")
        done = client.until(f"{AUDIO}.completed")[-1]
        spoken = composer.read_audio(wav_bytes(pcm, "audio/pcm", 24_000))
        (want,) = composer.transcribe(bundles[MODEL], [spoken], align=aligner, logprobs=True)
        assert done["words"] == [word_json(word) for word in want.words]
        assert "".join(each["token"] for each in done["logprobs"]) == done["transcript"]
        client.send("session.update", session={"include": []})
        assert client.next()["session"]["include"] == []


WRONG = {
    "no json": ("{", None, "an event is a JSON object"),
    "a list": ("[]", None, "an event is a JSON object"),
    "bytes": (b"x", None, "an event is a JSON object"),
    "an event": ({"type": "response.create"}, "type", "there is no event 'response.create'"),
    "no base64": (
        {"type": "input_audio_buffer.append", "audio": "?"}, "audio", "'audio' is no base64",
    ),
    "no audio": ({"type": "input_audio_buffer.append"}, "audio", "'audio' is base64"),
}  # fmt: skip


def vad(**settings):
    return {"audio": {"input": {"turn_detection": {"type": "server_vad", **settings}}}}


SESSIONS = {
    "a conversation": ({"type": "realtime"}, "session.type"),
    "include": ({"include": ["x"]}, "session.include"),
    "include one": ({"include": "x"}, "session.include"),
    "words": (
        {"audio": {"input": {"transcription": {"timestamp_granularities": ["word"]}}}},
        "timestamp_granularities",
    ),
    "turns": ({"audio": {"input": {"turn_detection": {"type": "semantic_vad"}}}},
              f"{AT}.turn_detection.type"),
    "a threshold": (vad(threshold=2), f"{AT}.turn_detection.threshold"),
    "milliseconds": (vad(silence_duration_ms=0.5), f"{AT}.turn_detection.silence_duration_ms"),
    "responses": (vad(create_response=True), f"{AT}.turn_detection.create_response"),
    "a key of turns": (vad(eagerness="low"), f"{AT}.turn_detection.eagerness"),
    "noise": ({"audio": {"input": {"noise_reduction": {"type": "near_field"}}}},
              f"{AT}.noise_reduction"),
    "a format": ({"audio": {"input": {"format": {"type": "audio/x"}}}}, f"{AT}.format.type"),
    "a rate": ({"audio": {"input": {"format": {"rate": 8000}}}}, f"{AT}.format.rate"),
    "a language": ({"audio": {"input": {"transcription": {"language": "xx"}}}}, "language"),
    "a model": ({"audio": {"input": {"transcription": {"model": "none"}}}}, "model"),
    "a typo": ({"audio": {"inptu": {}}}, "session.audio.inptu"),
    "a text": ({"audio": "x"}, "session.audio"),
}  # fmt: skip


def test_what_is_wrong_is_an_event_and_the_session_goes_on(served):
    with session(served) as client:
        for sent, param, message in WRONG.values():
            client.socket.send(json.dumps(sent) if isinstance(sent, dict) else sent)
            error = client.next()["error"]
            assert error["param"] == param
            assert message in error["message"]
            assert set(error) == {"message", "type", "param", "code", "event_id"}
        for given, param in SESSIONS.values():
            client.send("session.update", session=given)
            event = client.next()
            assert (event["type"], event["error"]["param"]) == ("error", param), given
        assert client.update()["session"] == client.created


def test_half_a_sample_and_too_much_audio_are_refused(tmp_path, gate):
    gate.open.set()
    with (
        composer.load(write(tmp_path, GATED)) as bundle,
        serving({"m": bundle}, max_seconds=1) as running,
        session(running, "") as client,
    ):
        assert client.created["audio"]["input"]["transcription"] == {"model": "m"}
        client.append(b"abc")
        client.send("input_audio_buffer.commit")
        assert client.next()["error"]["code"] == "input_audio_buffer_odd"
        client.append(bytes(48_000))
        assert client.next()["error"]["code"] == "input_audio_buffer_full"
        assert client.update(format={"rate": 16_000})["error"]["param"] == f"{AT}.format"
        client.send("input_audio_buffer.clear")
        assert client.next()["type"] == "input_audio_buffer.cleared"
        error = client.update(turn_detection={"type": "server_vad"})["error"]
        assert error["param"] == f"{AT}.turn_detection"
        assert "names nothing that detects speech" in error["message"]


def test_what_a_run_fails_with_is_an_event(tmp_path, gate):
    gate.open.set()
    gate.fails = True
    with (
        composer.load(write(tmp_path, GATED)) as bundle,
        serving({"m": bundle}) as running,
        session(running, "") as client,
    ):
        client.append(bytes(24_000))
        client.send("input_audio_buffer.commit")
        failed = client.until(f"{AUDIO}.failed")[-1]
    assert failed["error"]["code"] == "R500"
    assert "no more" in failed["error"]["message"]


def test_a_client_that_leaves_in_mid_turn_frees_its_place(tmp_path, gate):
    gate.after = 2
    with composer.load(write(tmp_path, GATED)) as bundle, serving({"m": bundle}) as running:
        with session(running, "") as client:
            client.append(bytes(24_000))
            client.send("input_audio_buffer.commit")
            assert gate.waiting.acquire(timeout=WAIT)
        time.sleep(0.3)
        gate.open.set()
        assert gate.closed.acquire(timeout=WAIT)
        end = time.monotonic() + WAIT
        while running.state.sessions or running.state.pool.running:
            assert time.monotonic() < end
            time.sleep(0.01)
    assert gate.tokens == 3


def test_a_session_that_does_nothing_is_closed(tmp_path, gate):
    with (
        composer.load(write(tmp_path, GATED)) as bundle,
        serving({"m": bundle}, session_idle=0.2) as running,
        session(running, "") as client,
    ):
        with pytest.raises(ConnectionClosed):
            client.socket.recv(timeout=WAIT)
        assert client.socket.close_code == 1001


REFUSED = {
    "model": ("model=none", {}, 404),
    "intent": ("model=m&intent=conversation", {}, 400),
    "no key": ("model=m", {"subprotocols": ["realtime"]}, 401),
    "another site": ("model=m", {"origin": "https://a.example"}, 403),
    "a wrong key": ("model=m", {"additional_headers": {"authorization": "Bearer x"}}, 401),
}


@pytest.mark.parametrize("name", REFUSED)
def test_sessions_are_refused_before_they_begin(tmp_path, gate, name):
    query, kwargs, status = REFUSED[name]
    if status != 401:
        kwargs = {**kwargs, "additional_headers": {"authorization": "Bearer sesame"}}
    with (
        composer.load(write(tmp_path, GATED)) as bundle,
        serving({"m": bundle}, api_key="sesame", sessions=1) as running,
    ):
        with pytest.raises(InvalidStatus) as refused, session(running, query, **kwargs):
            pass
        assert refused.value.response.status_code == status
        assert b'"error"' in refused.value.response.body
        key = ["realtime", "openai-insecure-api-key.sesame"]  # as a browser sends it
        with session(running, "", subprotocols=key) as client:
            assert client.socket.subprotocol == "realtime"
            with pytest.raises(InvalidStatus) as full, session(running, "", subprotocols=key):
                pass
            assert full.value.response.status_code == 429


def test_the_head_of_a_wav_file():
    data = wav_bytes(b"\1\0\2\0", "audio/pcm", 24_000)
    assert struct.unpack("<I", data[4:8])[0] == len(data) - 8
    assert composer.read_audio(data).samples.tolist() == [2**-15, 2**-14]
