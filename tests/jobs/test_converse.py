"""Conversing through Python alone, with the miniature that chats."""

import pytest

import composer
from composer.sources.shipped import shipped_folder

BUNDLE = shipped_folder("bundles") / "elderwise-mini"
HELLO = "What is the capital of France?"


@pytest.fixture(scope="module")
def bundle():
    with composer.load(BUNDLE, task="chat") as loaded:
        yield loaded


def test_a_turn_is_answered(bundle):
    pieces, steps = [], []
    with composer.converse(bundle, progress=steps.append) as talk:
        reply = talk.ask(HELLO, pieces.append)
    assert isinstance(reply, composer.Reply)
    assert reply.text.strip() == "".join(pieces).strip()
    assert reply.text == bundle.run(task="chat", text=HELLO).text
    assert (reply.finish_reason, reply.cut_short) == ("stop", None)
    assert reply.tokens > 1
    assert steps == [
        composer.JobProgress("fetching", "elderwise-mini"),
        composer.JobProgress("loading", "elderwise-mini"),
    ]


def test_the_next_turn_goes_on_from_the_last(bundle):
    talk = composer.converse(bundle)
    talk.ask(HELLO)
    history = talk.carried["history"]
    assert len(history) > 5
    talk.ask(HELLO)
    longer = talk.carried["history"]
    assert list(longer[: len(history)]) == list(history)
    assert len(longer) > len(history)
    talk.reset()
    talk.ask(HELLO)
    assert list(talk.carried["history"]) == list(history)


def test_a_turn_that_is_left_is_forgotten(bundle):
    talk = composer.converse(bundle)
    with talk.begin(HELLO) as turn:
        next(iter(turn))
    assert talk.carried == {}


def test_a_turn_that_is_stopped_stays_as_far_as_it_came(bundle):
    talk = composer.converse(bundle)
    with talk.begin(HELLO) as turn:
        next(iter(turn))
        turn.stop()
        reply = turn.finish()
    assert reply.finish_reason == "cancelled"
    assert len(talk.carried["history"]) > 0


def test_an_answer_that_was_cut_says_where(bundle):
    reply = composer.converse(bundle, options={"answer": {"max_tokens": 1}}).ask(HELLO)
    assert reply.cut_short == composer.CutShort("answer", 1, 1)


def test_a_bundle_that_it_opened_is_closed():
    with composer.converse(composer.BundleOptions(BUNDLE)) as talk:
        pass
    with pytest.raises(composer.ComposerError, match="R508 the bundle is closed"):
        talk.ask(HELLO)


def test_a_bundle_that_was_open_stays_so(bundle):
    with composer.converse(bundle):
        pass
    assert bundle.run(task="chat", text=HELLO).text


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"task": "transcribe"}, "R543 task 'transcribe' takes no text that must be given"),
        ({"task": "tell"}, "R543 the bundle has no task 'tell'"),
        ({"inputs": {"text": "hi"}}, "R540 'text' is what is typed in each turn"),
        ({"inputs": {"txt": "hi"}}, "R540 task 'chat' has no input 'txt'"),
        ({"options": {"answer": {"top": 3}}}, "R544 cannot set on 'answer' the option 'top'"),
    ],
)
def test_a_wrong_call_is_refused(bundle, given, problem):
    with pytest.raises(composer.ComposerError) as caught:
        composer.converse(bundle, **given)
    assert str(caught.value).startswith(problem)
    assert caught.value.exit_code == 2


def test_a_bundle_that_does_not_converse():
    with pytest.raises(composer.ComposerError, match="R543 task 'default' takes"):
        composer.converse("mega-asr-mini")
