"""Chat completions through OpenAI's own client, and against the conversation of `composer chat`."""

import base64
import io

import numpy as np
import openai
import pytest
from PIL import Image

import composer
from composer.core import registry
from composer.core.component import Component, method
from composer.jobs.chat_completion import Message, find_chat_task
from tests.fakes import write
from tests.server.gates import gate
from tests.server.serving import serving

__all__ = ["gate"]

MODEL = "elderwise-mini"
ASKED = ("What time is it?", "And now?", "Thank you.")


@pytest.fixture(scope="module")
def talk(bundles):
    """Return what the conversation itself answers."""
    with composer.converse(bundles[MODEL]) as talk:
        return [talk.ask(text) for text in ASKED]


def create(client, messages, **fields):
    return client.chat.completions.create(**{"model": MODEL, "messages": messages, **fields})


def user(content):
    return {"role": "user", "content": content}


def speech(data, format="flac"):
    encoded = base64.b64encode(data).decode()
    return {"type": "input_audio", "input_audio": {"data": encoded, "format": format}}


def test_a_message_is_answered_as_in_a_conversation(client, talk):
    made = create(client, [user(ASKED[0])])
    (choice,) = made.choices
    assert choice.message.content == talk[0].text
    assert (choice.message.role, choice.finish_reason) == ("assistant", talk[0].finish_reason)
    assert made.object == "chat.completion"
    assert made.usage.completion_tokens == talk[0].tokens
    assert made.usage.total_tokens == made.usage.prompt_tokens + talk[0].tokens
    parts = [{"type": "text", "text": ASKED[0]}]
    assert create(client, [user(parts)]).choices[0].message.content == talk[0].text


def test_the_turns_before_are_known(client, talk):
    messages = []
    for text, reply in zip(ASKED, talk, strict=True):
        messages.append(user(text))
        made = create(client, messages)
        assert made.choices[0].message.content == reply.text
        messages.append({"role": "assistant", "content": reply.text})
    alone = create(client, [user(ASKED[2])]).usage.prompt_tokens
    assert made.usage.prompt_tokens > 2 * alone


def test_chunks_are_together_the_answer(client, talk):
    chunks = list(
        create(client, [user(ASKED[0])], stream=True, stream_options={"include_usage": True})
    )
    *pieces, end, usage = chunks
    assert "".join(each.choices[0].delta.content for each in pieces) == talk[0].text
    assert pieces[0].choices[0].delta.role == "assistant"
    assert end.choices[0].finish_reason == "stop"
    assert (usage.choices, usage.usage.completion_tokens) == ([], talk[0].tokens)
    assert len({each.id for each in chunks}) == 1


def test_speech_is_answered_by_the_task_that_takes_it(client, clip, expected):
    made = create(client, [user([speech(clip)])])
    assert made.choices[0].message.content == expected.text
    parts = [{"type": "text", "text": "Transcribe the following audio:"}, speech(clip)]
    assert create(client, [user(parts)]).choices[0].message.content == expected.text
    asked = create(client, [user([speech(clip)])], model="mega-asr-mini", max_tokens=2)
    assert (asked.choices[0].finish_reason, asked.usage.completion_tokens) == ("length", 2)


class Looks(Component, name="fake.looks"):
    """Say how large a picture is."""

    @classmethod
    def load(cls, spec, facts, placement):
        return cls()

    @method(picture="image", prompt="text", returns="text")
    def __call__(self, picture, prompt):
        return f"{prompt} {np.asarray(picture.pixels).shape[:2]}"


def test_a_picture_is_given_as_data(tmp_path, gate):
    registry.register_component(Looks)
    manifest = """\
composer: 1
name: looks
components: {look: {use: fake.looks}}
inputs: {picture: image, prompt: {type: text, default: hi}}
graph: {seen: {run: look, with: {picture: $picture, prompt: $prompt}}}
outputs: {text: $seen}
"""
    file = io.BytesIO()
    Image.new("RGB", (5, 3)).save(file, "PNG")
    url = f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
    try:
        with (
            composer.load(write(tmp_path, manifest)) as bundle,
            serving({"m": bundle}) as running,
            openai.OpenAI(base_url=running.url, api_key="x", max_retries=0) as client,
        ):
            picture = {"type": "image_url", "image_url": {"url": url}}
            made = create(client, [user([picture])], model="m")
            assert made.choices[0].message.content == "hi (3, 5)"
            for bad in ("http://127.0.0.1/a.png", "file:///etc/passwd", "data:text/plain,a"):
                picture["image_url"]["url"] = bad
                with pytest.raises(openai.BadRequestError) as refused:
                    create(client, [user([picture])], model="m")
                assert "nothing is fetched" in refused.value.body["message"]
    finally:
        registry.unregister_component(Looks.name)


TOOL = {"type": "function", "function": {"name": "f", "parameters": {}}}
WRONG = {
    "tools": ({"tools": [TOOL]}, "models of this server call no tools"),
    "n": ({"n": 2}, "'n' can only be 1"),
    "temperature": ({"temperature": 3}, "from 0 to 2"),
    "max_tokens": ({"max_tokens": 10**12}, "from 1 to 100000"),
    "response_format": ({"response_format": {"type": "json_object"}}, "can only be"),
    "logprobs": ({"logprobs": True}, "can only be false"),
    "chat_template_kwargs": ({"extra_body": {"chat_template_kwargs": {}}}, "there is no field"),
    "stop": ({"extra_body": {"stop": [1]}}, "a text or a list of texts"),
    "stream_options": ({"extra_body": {"stream_options": {"include_usage": True}}}, "with stream"),
    "model": ({"model": ""}, "'model' is missing; this server has"),
}


@pytest.mark.parametrize("param", WRONG)
def test_what_is_wrong_is_refused_by_name(client, param):
    fields, message = WRONG[param]
    with pytest.raises(openai.BadRequestError) as refused:
        create(client, [user("hi")], **fields)
    assert refused.value.param == param
    assert message in refused.value.body["message"]


AUDIO = {"type": "input_audio", "input_audio": {"data": "?", "format": "wav"}}
MESSAGES = {
    "no list": ("x", "must be a list"),
    "none": ([], "must be a list"),
    "an answer last": ([{"role": "assistant", "content": "x"}], "must be the user's"),
    "a tool": ([{"role": "tool", "content": "x"}], "messages[0].role must be"),
    "two in a row": ([user("a"), user("b")], "must take turns"),
    "no base64": ([user([AUDIO])], "is no base64"),
    "junk": ([user([speech(b"junk", "wav")])], "not a readable audio file"),
    "a format": ([user([speech(b"x", "exe")])], "format must be one of wav, mp3"),
    "two clips": ([user([speech(b"x"), speech(b"y")])], "no task of elderwise-mini takes 2 audio"),
    "a part": ([user([{"type": "file", "file": {}}])], "messages[0].content[0] must be a text"),
    "calls": (
        [{"role": "assistant", "content": "x", "tool_calls": [TOOL]}, user("a")],
        "has 'tool_calls'",
    ),
    "a system": ([{"role": "system", "content": "be kind"}, user("a")], "takes no system message"),
    "earlier audio": (
        [user([speech(b"x")]), {"role": "assistant", "content": "a"}, user("b")],
        "only the last message may have audio",
    ),
}


@pytest.mark.parametrize("name", MESSAGES)
def test_messages_that_no_model_takes_are_refused(client, name):
    messages, text = MESSAGES[name]
    with pytest.raises(openai.BadRequestError) as refused:
        create(client, messages)
    assert text in refused.value.body["message"]


BODIES = {
    "nothing": (b"", "is not JSON"),
    "deep": (b'{"messages": ' + b"[" * 100_000, "nested more than 32 levels deep"),
    "a list": (b"[1]", "expected an object"),
    "twice": (b'{"model": "a", "model": "b"}', "the key 'model' twice"),
    "no number": (b'{"n": NaN}', "which is not valid JSON"),
    "surrogate": (b'{"model": "\\ud800"}', "half a surrogate pair"),
}


@pytest.mark.parametrize("name", BODIES)
def test_bodies_that_are_no_request_are_refused(served, name):
    data, message = BODIES[name]
    status, _, body = served.send("POST", "/v1/chat/completions", data)
    assert status == 400
    assert message in body["error"]["message"]


def test_a_body_that_is_too_large_is_refused_before_it_is_read(bundles):
    with serving({"m": bundles[MODEL]}, max_upload=1000) as running:
        status, _, body = running.send("POST", "/v1/chat/completions", b"x" * 10_000)
    assert (status, body["error"]["code"]) == (413, "file_too_large")


def test_turns_before_are_recalled_without_running_the_decoder(bundles, talk):
    """The history is that of the conversation itself, but for how an answer is tokenized."""
    messages = [Message("user", ASKED[0]), Message("assistant", talk[0].text)]
    asked = find_chat_task(bundles[MODEL], [*messages, Message("user", ASKED[1])])
    assert asked.earlier == ((ASKED[0], talk[0].text),)
    stream = asked.stream()
    assert "".join(stream) == talk[1].text
