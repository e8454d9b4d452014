import os
import pty
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from composer import Component, ComposerError, Problem, Token, method
from composer.core import registry
from tests.fakes import write

ROOT = Path(__file__).parents[2]
CHAT = """\
composer: 1
name: fake-chat
components:
  turn: {use: fake.turn}
  echo: {use: fake.echo}
tasks:
  shout:
    inputs: {text: text}
    graph: {ids: {run: turn, with: {text: $text}}, words: {run: echo.embed, with: {ids: $ids}},
            reply: {run: echo.generate, with: {embeds: $words}}}
    outputs: {text: $reply.text}
  chat:
    inputs: {text: text, history: {type: ids, default: []}}
    graph:
      asked: {run: turn, with: {text: $text, history: $history}}
      words: {run: echo.embed, with: {ids: $asked}}
      answer: {run: echo.generate, with: {embeds: $words}}
      so_far: {run: turn.history, with: {asked: $asked, answer: $answer.ids}}
    outputs: {text: $answer.text, history: $so_far}
"""


class Turn(Component, name="fake.turn"):
    """Put one id for each character after a conversation."""

    @classmethod
    def load(cls, spec, facts, placement):
        return cls()

    @method(text="text", history="i64 H", returns="i64 T")
    def __call__(self, text, history=None):
        if text == "bad":
            raise ComposerError(Problem("R514", "it is too long"))
        before = [] if history is None else history
        return np.array([*before, *map(ord, text)], np.int64)

    @method(asked="i64 T", answer="i64 N", returns="i64 H")
    def history(self, asked, answer):
        return np.concatenate([asked, answer])


class Slow(Component, name="fake.slow"):
    """A decoder that counts on, ten times a second; it first says how much it has read."""

    @classmethod
    def load(cls, spec, facts, placement):
        return cls()

    @method(
        ids="i64 T",
        returns={"text": "text", "ids": "i64 N", "finish_reason": "text"},
        streams=True,
    )
    def generate(self, ids, *, pause: float = 0.1, reading: float = 0.0):
        words, enough = [f"[{len(ids)}]"], None
        time.sleep(reading)
        enough = yield Token(1, words[0])
        while not enough and len(words) < 80:
            time.sleep(pause)
            words.append(f" {len(words)}")
            enough = yield Token(1, words[-1])
        return {
            "text": "".join(words),
            "ids": np.ones(len(words), np.int64),
            "finish_reason": "cancelled" if enough else "stop",
        }


@pytest.fixture(autouse=True)
def kinds(fakes):
    for kind in (Turn, Slow):
        registry.register_component(kind)
    yield
    for kind in (Turn, Slow):
        registry.unregister_component(kind.name)


@pytest.fixture
def bundle(tmp_path):
    return write(tmp_path, CHAT)


# Piped


def test_each_line_is_a_turn_and_each_answer_a_line(piped, bundle):
    assert piped(bundle, "hi\nabc\n") == (0, "2.\n7.\n", "")
    assert piped(bundle, "") == (0, "", "")


def test_the_last_line_needs_no_end_and_empty_lines_are_no_turns(piped, bundle):
    assert piped(bundle, "\nhi\r\n   \nabc")[1] == "2.\n7.\n"


def test_help_is_no_turn(piped, bundle):
    code, out, err = piped(bundle, "hi\n/help\nabc\n/clear\nabc\n")
    assert (code, out) == (0, "2.\n7.\n3.\n")
    assert err == "fake-chat: /reset or /clear starts over, Ctrl-C stops an answer, Ctrl-D ends\n"


def test_reset_begins_anew(piped, bundle):
    assert piped(bundle, "hi\n/reset\nabc\n/resets\n") == (0, "2.\n3.\n12.\n", "")


def test_a_conversation_may_begin_with_a_history(piped, bundle):
    given = ("-i", "history=[1, 2, 3]")
    assert piped(bundle, "hi\nabc\n/reset\na\n", *given)[1] == "5.\n10.\n4.\n"


def test_options_are_those_of_run(piped, bundle):
    assert piped(bundle, "hi\na\n", "--set", "answer.end=!", "--task", "chat")[1] == "2!\n5!\n"
    code, out, err = piped(bundle, "hi\n", "--set", "answer.max_tokens=1")
    assert (code, out) == (0, "2\n")
    assert err == (
        "warning: the answer was cut after 1 token; allow more by --set answer.max_tokens=2\n"
    )
    assert piped(bundle, "", "--set", "answer.and=!")[0] == 2
    assert piped(bundle, "", "--precision", "echo=float16")[0] == 0
    assert piped(bundle, "", "--variant", "no")[0] == 3


def test_a_turn_that_fails_is_reported_and_forgotten(piped, bundle):
    code, out, err = piped(bundle, "hi\nbad\nabc\n")
    assert (code, out) == (5, "2.\n\n7.\n")
    assert err == (
        f"{bundle}:15:7: R514 it is too long\n"
        "    at node 'asked' (turn), given text (3 characters), history i64 [4]\n"
    )


def test_bytes_that_are_no_text_are_refused_with_their_turn(piped, bundle):
    code, out, err = piped(bundle, b"hi\n\xff\nabc\n")
    assert (code, out) == (5, "2.\n\n7.\n")
    assert err == (
        "R542 'text' has a lone surrogate at character 0, which is not allowed in text\n"
        "    hint: decode the bytes as UTF-8\n"
    )


def test_an_answer_of_several_lines_is_one(piped, bundle):
    assert piped(bundle, "hi\n", "--set", 'answer.end="\\n."', "--set", "answer.max_tokens=9")[
        1
    ] == "2 .\n"  # fmt: skip


@pytest.mark.parametrize(
    ("change", "arguments", "message"),
    [
        ([], ["--task", "shout"], "task 'shout' is not a conversation: no output has the name and"),
        ([], ["--task", "talk"], "R543 the bundle has no task 'talk'"),
        ([], ["-i", "text=hi"], "R540 'text' is what is typed in each turn: leave it out"),
        ([], ["-i", "txt=hi"], "R540 task 'chat' has no input 'txt'"),
        ([(", default: []}", "}")], [], "R541 input 'history' (ids) is not given"),
        ([("  chat:", "  talk:"), ("history: $so_far", "so_far: $so_far")], [],
         "fake-chat has no task that is a conversation; choose by --task"),
        ([("{text: text, history", "{say: text, more: text, history"), ("{text: $text, h",
          "{text: $say, h")], [], "task 'chat' takes several texts (say, more); the one that"),
        ([("type: ids, default: []", "tensor, port: f32 H, default: []")], [], "M1"),
        ([("{text: $answer.text, h", "{h")], [], "task 'chat' gives no text"),
    ],
)  # fmt: skip
def test_what_is_no_conversation(piped, tmp_path, change, arguments, message):
    code, out, err = piped(write(tmp_path, CHAT, *change), "hi\n", *arguments)
    assert (out, message in " ".join(err.replace("│", " ").split())) == ("", True), err
    assert code in (2, 3)


def test_the_only_conversation_is_found(piped, tmp_path):
    talk = ("  chat:", "  talk:")
    assert piped(write(tmp_path, CHAT, talk), "hi\nabc\n")[1] == "2.\n7.\n"
    twice = write(tmp_path, CHAT, talk)
    twice.write_text(twice.read_text() + twice.read_text()[CHAT.index("  chat:") :].replace(
        "  talk:", "  speak:", 1))  # fmt: skip
    code, _, err = piped(twice, "hi\n")
    assert code == 2
    assert "several conversations (talk, speak); choose by --task" in " ".join(err.split())


# In a terminal

SCRIPT = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.path.insert(0, {root!r})
from composer import registry
from composer.cli import main
from tests.cli.test_chat import Slow, Turn
from tests.fakes import FAKES
for kind in (*FAKES, Slow, Turn):
    registry.register_component(kind)
sys.exit(main(["chat", {bundle!r}]))
"""


class Terminal:
    """A process in a terminal of its own."""

    def __init__(self, bundle, out=None):
        self.ours, theirs = pty.openpty()
        script = SCRIPT.format(root=str(ROOT), bundle=str(bundle))
        self.process = subprocess.Popen(
            [sys.executable, "-c", script],
            stdin=theirs, stdout=out or theirs, stderr=theirs,
            start_new_session=True, env={**os.environ, "TERM": "dumb"},
        )  # fmt: skip
        os.close(theirs)
        self.seen = ""

    def until(self, text, seconds=300, again=lambda: None):
        """Read until a text appears, and return all up to its end; every second try `again`."""
        end = time.monotonic() + seconds
        while text not in self.seen:
            assert time.monotonic() < end, f"no {text!r} in {self.seen!r}"
            if not select.select([self.ours], [], [], 1)[0]:
                again()
            else:
                try:
                    self.seen += os.read(self.ours, 4096).decode().replace("\r", "")
                except OSError:
                    break
        found, _, self.seen = self.seen.partition(text)
        return found + text

    def type(self, text):
        os.write(self.ours, text.encode())

    def interrupt(self):
        self.process.send_signal(signal.SIGINT)

    def close(self):
        self.process.kill()
        self.process.wait()
        os.close(self.ours)


@pytest.fixture
def terminal(tmp_path):
    opened = []

    def start(text, *changes, **given):
        opened.append(Terminal(write(tmp_path, text, *changes), **given))
        return opened[-1]

    yield start
    for each in opened:
        each.close()


def test_a_terminal_is_prompted_and_a_failed_turn_forgotten(terminal):
    here = terminal(CHAT)
    keys = "/reset or /clear starts over, Ctrl-C stops an answer, Ctrl-D ends\n> "
    assert here.until("> ").endswith(f": {keys}")
    here.type("/help\n")
    assert here.until("> ").endswith(f": {keys}")
    here.type("hi\n")
    assert here.until("> ") == "hi\n2.\n> "
    here.type("bad\n")
    printed = here.until("starts over\n> ")
    assert "R514 it is too long" in printed
    assert "the turn is forgotten; /reset starts over\n> " in printed
    here.type("   \nabc\n")
    assert here.until("7.\n> ").endswith("7.\n> ")
    here.type("/clear\n")
    here.until("> ")
    here.type("abc\n")
    assert here.until("3.\n> ").endswith("3.\n> ")
    here.type("\x04")
    assert here.process.wait(300) == 0


SLOW = (
    ("echo: {use: fake.echo}", "slow: {use: fake.slow}\n  echo: {use: fake.echo}"),
    ("      words: {run: echo.embed, with: {ids: $asked}}\n", ""),
    ("{run: echo.generate, with: {embeds: $words}}\n      so_far",
     "{run: slow.generate, with: {ids: $asked}}\n      so_far"),
)  # fmt: skip


def test_an_interrupt_stops_the_answer_and_keeps_its_text(terminal):
    here = terminal(CHAT, *SLOW)
    here.until("> ")
    here.type("hi\n")
    here.until("[2] 1 2")
    here.interrupt()
    messages = "[2] 1 2" + here.until("\n> ")
    words = len(messages.split()) - 1
    assert 3 <= words < 30
    here.type("abc\n")
    here.until(f"[{2 + words + 3}] 1")  # it has read the message
    here.interrupt()
    here.until("\n> ")
    # At the prompt it says what else there is. Python's readline misses a signal that comes between
    # its prompt and its wait for a key, until the next one.
    here.interrupt()
    here.until("Ctrl-D ends\n> ", again=here.interrupt)
    here.type("\x04")
    assert here.process.wait(300) == 0


def test_a_second_interrupt_gives_the_turn_up(terminal):
    stuck = ("{ids: $asked}}\n      so_far", "{ids: $asked, pause: 8}}\n      so_far")
    here = terminal(CHAT, *SLOW, stuck)
    here.until("> ")
    here.type("hi\n")
    here.until("[2]")
    for _ in range(2):
        time.sleep(
            1.5
        )  # the decoder is in its pause, and knows of the first when it gets the second
        here.interrupt()
    assert "the turn is forgotten" in here.until("> ")
    here.type("a\n")
    here.until("[1]")


def test_an_interrupt_before_an_answer_gives_the_turn_up(terminal):
    long = ("{ids: $asked}}\n      so_far", "{ids: $asked, reading: 300}}\n      so_far")
    here = terminal(CHAT, *SLOW, long)
    here.until("> ")
    here.type("hi\n")
    here.until("hi\n")
    time.sleep(1.5)  # it is about to be read
    here.interrupt()
    assert "the turn is forgotten" in here.until("> ", seconds=60)


def test_a_terminal_whose_output_goes_elsewhere_has_answers_alone(terminal, tmp_path):
    with (tmp_path / "answers").open("wb") as file:
        here = terminal(CHAT, out=file)
        here.until("> ")
        here.type("hi\n")
        here.until("> ")
        here.type("abc\n")
        here.until("> ")
        here.type("\x04")
        assert here.process.wait(300) == 0
    assert (tmp_path / "answers").read_text() == "2.\n7.\n"
