import numpy as np
import pytest

from composer.core.component import Token
from composer.core.errors import ComposerError
from composer.generation.engine import Engine, Request, generate
from composer.generation.reasoning import ReasoningIds
from composer.generation.sampler import Sampling
from composer.generation.stop import StopRules
from tests.streams import outputs

END = 63


class Letters:
    """A tokenizer of one letter each, but for 1 and 2, which are halves of one."""

    def decode(self, ids, skip_special_tokens=True):
        text = "".join(chr(ord("A") + token) for token in ids)
        return text.replace("BC", "é").replace("B", "�")

    def id_to_token(self, id):
        return chr(ord("A") + id)

    def token_to_id(self, token):
        return ord(token) - ord("A")


class Fake:
    """A language model whose logits are a fixed function of all that it has read."""

    def __init__(self, script=None):
        self.script = script
        self.steps = []
        self.retired = []

    def prefill(self, prompt):
        if not prompt:
            raise ValueError("an empty prompt")
        return list(prompt)

    def step(self, states, tokens):
        self.steps.append(len(states))
        for state, token in zip(states, tokens, strict=True):
            state.append(token)

    def greedy(self, states):
        return [int(np.argmax(self.logits(state))) for state in states]

    def retire(self, state):
        self.retired.append(list(state))

    def logits(self, state):
        if self.script is not None:
            return np.eye(END + 1, dtype=np.float32)[self.script[len(state) - 1]]
        logits = np.random.default_rng(state).normal(0, 2, END + 1).astype(np.float32)
        logits[END] += len(state) / 8
        return logits


def solo(request, decoder=None):
    return outputs(generate(decoder or Fake(), Letters(), request))


REQUESTS = [
    Request([3, 4, 5], Sampling(), StopRules(frozenset({END}), 30)),
    Request([9], Sampling(1.0, seed=5), StopRules(frozenset({END}), 50)),
    Request([7, 7, 7, 7, 7, 7], Sampling(), StopRules(frozenset({END}), 4)),
    Request([2, 40], Sampling(0.7, 0.9, 20, seed=1), StopRules(frozenset({END, 12}), 9)),
]


def test_it_yields_tokens_and_returns_outputs():
    script = [3, 4, 5, END]
    request = Request([0], Sampling(), StopRules(frozenset({END}), 9))
    tokens, outputs = solo(request, Fake(script))
    assert tokens == [Token(3, "D"), Token(4, "E"), Token(5, "F")]
    assert outputs["text"] == "DEF"
    assert outputs["ids"].dtype == np.int64
    assert outputs["ids"].tolist() == [3, 4, 5]
    assert outputs["finish_reason"] == "stop"


def test_it_ends_at_max_tokens():
    tokens, outputs = solo(Request([0], Sampling(), StopRules(frozenset(), 2)), Fake([3, 4, 5]))
    assert [token.id for token in tokens] == [3, 4]
    assert outputs["finish_reason"] == "length"


def test_an_answer_may_be_empty():
    tokens, outputs = solo(Request([0], Sampling(), StopRules(frozenset({3}), 2)), Fake([3]))
    assert tokens == []
    assert outputs["text"] == ""
    assert outputs["ids"].shape == (0,)
    assert outputs["finish_reason"] == "stop"


def test_text_that_was_kept_back_comes_with_the_last_step():
    stop = Request([0], Sampling(), StopRules(frozenset({END}), 9))
    assert solo(stop, Fake([3, 1, END]))[0] == [Token(3, "D"), Token(1, ""), Token(END, "�")]
    length = Request([0], Sampling(), StopRules(frozenset({END}), 2))
    assert solo(length, Fake([3, 1]))[0] == [Token(3, "D"), Token(1, "�")]
    whole = Request([0], Sampling(), StopRules(frozenset({END}), 9))
    assert solo(whole, Fake([1, 2, END]))[0] == [Token(1, ""), Token(2, "é")]


def test_the_last_token_costs_no_step():
    decoder = Fake([3, 4, 5])
    solo(Request([0], Sampling(), StopRules(frozenset(), 3)), decoder)
    assert decoder.steps == [1, 1]


def test_requests_in_flight_equal_their_solo_runs():
    alone = [solo(request)[1] for request in REQUESTS]
    assert len({len(outputs["ids"]) for outputs in alone}) == len(REQUESTS)
    decoder = Fake()
    engine = Engine(decoder, Letters())
    waiting = list(REQUESTS)
    answers, streams = [], {}
    turn = 0
    while engine.busy or waiting:
        if waiting and turn % 3 == 0:  # a newcomer every third step
            answers.append(engine.add(waiting.pop(0)))
        for answer, token in engine.advance():
            streams.setdefault(answer, []).append(token)
        turn += 1
    assert max(decoder.steps) > 1
    for answer, expected in zip(answers, alone, strict=True):
        assert answer.outputs()["ids"].tolist() == expected["ids"].tolist()
        assert answer.outputs()["text"] == expected["text"]
        assert answer.finish_reason == expected["finish_reason"]
        assert "".join(token.text for token in streams[answer]) == expected["text"]


def test_a_request_can_be_given_up():
    engine = Engine(Fake(), Letters())
    kept, dropped = engine.add(REQUESTS[0]), engine.add(REQUESTS[1])
    engine.advance()
    engine.retire(dropped)
    while engine.busy:
        assert [answer for answer, _ in engine.advance()] == [kept]
    assert kept.outputs()["ids"].tolist() == solo(REQUESTS[0])[1]["ids"].tolist()


def test_a_prompt_that_cannot_be_read_leaves_the_others_alone():
    engine = Engine(Fake(), Letters())
    kept = engine.add(REQUESTS[0])
    with pytest.raises(ValueError, match="an empty prompt"):
        engine.add(Request([], Sampling(), StopRules(frozenset(), 3)))
    while engine.busy:
        engine.advance()
    assert kept.outputs()["ids"].tolist() == solo(REQUESTS[0])[1]["ids"].tolist()


def test_logits_that_are_no_numbers_end_the_run():
    class Broken(Fake):
        def logits(self, state):
            return np.full(4, np.nan, np.float32)

    with pytest.raises(ComposerError, match="R512"):
        solo(Request([0], Sampling(1.0), StopRules(frozenset(), 3)), Broken())


def test_a_reader_who_has_read_enough_gets_what_was_read():
    decoder = Fake([3, 4, 1, 5, 6])
    stream = generate(decoder, Letters(), Request([0], Sampling(), StopRules(frozenset(), 9)))
    assert [next(stream).text for _ in range(3)] == ["D", "E", ""]
    with pytest.raises(StopIteration) as end:
        stream.send(True)
    assert end.value.value["ids"].tolist() == [3, 4, 1]
    assert end.value.value["text"] == "DE"
    assert end.value.value["finish_reason"] == "cancelled"
    assert decoder.retired == [[0, 3, 4, 1]]


def test_enough_is_no_reason_where_the_answer_has_ended():
    stream = generate(Fake([3, 4]), Letters(), Request([0], Sampling(), StopRules(frozenset(), 2)))
    next(stream)
    next(stream)
    with pytest.raises(StopIteration) as end:
        stream.send(True)
    assert end.value.value["finish_reason"] == "length"


def test_a_state_comes_back_in_good_order_or_not_at_all():
    decoder = Fake([3, 4, 5, END])
    solo(Request([0], Sampling(), StopRules(frozenset({END}), 9)), decoder)
    assert decoder.retired == [[0, 3, 4, 5]]
    stream = generate(decoder, Letters(), Request([0], Sampling(), StopRules(frozenset({END}), 9)))
    next(stream)
    stream.close()
    assert decoder.retired[1:] == [[0, 3]]

    def fails(states, tokens):
        raise MemoryError

    decoder.step = fails
    with pytest.raises(MemoryError):
        solo(Request([0], Sampling(), StopRules(frozenset({END}), 9)), decoder)
    assert len(decoder.retired) == 2


def test_reasoning_is_streamed_without_text():
    marks = ReasoningIds(10, 11)
    script = [3, 10, 4, 5, 11, 6, END]
    request = Request([0], Sampling(), StopRules(frozenset({END}), 9), marks)
    tokens, outputs = solo(request, Fake(script))
    assert [(token.id, token.text) for token in tokens] == [
        (3, "D"), (10, ""), (4, ""), (5, ""), (11, ""), (6, "G"),
    ]  # fmt: skip
    assert (outputs["text"], outputs["ids"].tolist()) == ("DG", script[:-1])


def test_text_that_was_kept_back_waits_for_the_reasoning():
    """The halves of a letter belong together, whatever was thought between them."""
    request = Request([0], Sampling(), StopRules(frozenset({END}), 9), ReasoningIds(10, 11))
    assert solo(request, Fake([1, 10, 4, 11, 2, END]))[1]["text"] == "é"


def test_the_end_of_an_answer_may_be_reasoning():
    request = Request([0], Sampling(), StopRules(frozenset({END}), 9), ReasoningIds(10, 11))
    assert solo(request, Fake([1, 10, 4, END]))[1]["text"] == "�"
    request = Request([0], Sampling(), StopRules(frozenset(), 2), ReasoningIds(10, 11))
    assert solo(request, Fake([3, 10]))[1]["text"] == "D"


WORDS = "he saw STOP and STO and STAND"


class Spelled(Letters):
    """A tokenizer whose ids are places in WORDS, two characters each."""

    def decode(self, ids, skip_special_tokens=True):
        return "".join(WORDS[2 * id : 2 * id + 2] for id in ids)

    def id_to_token(self, id):
        return WORDS[2 * id : 2 * id + 2]


def spoken(stop_text, count=20, marks=None):
    script = [*range(len(WORDS) // 2 + 1), END]
    request = Request([0], Sampling(), StopRules(frozenset({END}), count), marks, stop_text)
    return solo_with(Spelled(), request, Fake(script))


def solo_with(tokenizer, request, decoder):
    tokens, result = outputs(generate(decoder, tokenizer, request))
    return [token.text for token in tokens], result


@pytest.mark.parametrize(
    ("stop_text", "text"),
    [
        (("STOP",), "he saw "),
        (("w S",), "he sa"),
        (("STAND",), "he saw STOP and STO and "),
        (("STOPPED", "STORY"), WORDS),
        (("and STA", "and STO"), "he saw STOP "),
        (("OP", "STOP"), "he saw "),
        (("h",), ""),
        ((WORDS,), ""),
        ((WORDS + "!",), WORDS),
        ((), WORDS),
    ],
)
def test_a_text_of_several_tokens_ends_the_answer(stop_text, text):
    pieces, outputs = spoken(stop_text)
    assert outputs["text"] == "".join(pieces) == text
    assert outputs["finish_reason"] == "stop"
    for length in range(len(pieces)):
        assert text.startswith("".join(pieces[:length]))
    assert len(text) <= 2 * len(outputs["ids"])


def test_text_that_may_begin_a_stop_text_comes_out_at_the_end_of_the_answer():
    pieces, outputs = spoken(("STOPPED",), count=5)
    assert pieces[:4] == ["he", " s", "aw", " "]
    assert (outputs["text"], outputs["finish_reason"]) == ("he saw STO", "length")
    assert "".join(pieces) == "he saw STO"


def test_what_stands_between_the_marks_of_reasoning_ends_nothing():
    pieces, outputs = spoken(("STOP",), marks=ReasoningIds(3, 5))
    assert outputs["text"] == "he sawand STO and STAND"
    assert "".join(pieces) == outputs["text"]


def test_log_probabilities_are_those_of_the_ids():
    plain = Request([1, 2], Sampling(), StopRules(frozenset({END}), 12))
    with_logprobs = Request([1, 2], Sampling(), StopRules(frozenset({END}), 12), logprobs=True)
    without, found = (solo_with(Letters(), each, Fake())[1] for each in (plain, with_logprobs))
    assert without["logprobs"].shape == (0,)
    assert found["ids"].tolist() == without["ids"].tolist()
    assert found["logprobs"].dtype == np.float32
    state, model = [1, 2], Fake()
    for id, logprob in zip(found["ids"].tolist(), found["logprobs"], strict=True):
        logits = model.logits(state).astype(np.float64)
        assert logprob == pytest.approx(logits[id] - np.log(np.exp(logits).sum()), abs=1e-6)
        state.append(id)


def test_requests_with_penalties_equal_their_solo_runs():
    requests = [
        Request(
            [n, 2],
            Sampling(temperature, seed=n, repetition_penalty=penalty),
            StopRules(frozenset({END}), 9),
        )
        for n, (temperature, penalty) in enumerate([(0, 1), (0, 1.4), (0.9, 1), (0.9, 1.4)])
    ]
    engine = Engine(Fake(), Letters())
    answers = [engine.add(request) for request in requests]
    while engine.busy:
        engine.advance()
    for request, answer in zip(requests, answers, strict=True):
        assert answer.ids == solo_with(Letters(), request, Fake())[1]["ids"].tolist()
    assert answers[0].ids != answers[1].ids
