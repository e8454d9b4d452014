"""Requests of many threads, continued together."""

import threading
from contextlib import suppress

import numpy as np
import pytest

from composer.core.errors import ComposerError
from composer.generation.engine import Request, generate
from composer.generation.sampler import Sampling
from composer.generation.scheduler import Scheduler
from composer.generation.stop import StopRules
from tests.generation.test_engine import END, Fake, Letters


class Parts(Fake):
    """A decoder that reads a prompt two ids at a time, and takes note of what it does."""

    def __init__(self, *given):
        super().__init__(*given)
        self.log = []

    def cache_nbytes(self, rows):
        return 10 * sum(rows)

    def prefill_parts(self, prompt):
        if not prompt:
            raise ValueError("an empty prompt")
        for place in range(2, len(prompt), 2):
            self.log.append(("read", prompt[0], place))
            yield
        self.log.append(("read", prompt[0], len(prompt)))
        return list(prompt)

    def step(self, states, tokens):
        self.log.append(("step", *(state[0] for state in states)))
        super().step(states, tokens)


def asked(first, size=3, count=6, **sampling):
    return Request([first] * size, Sampling(**sampling), StopRules(frozenset({END}), count))


REQUESTS = [
    asked(1, 5, 30),
    asked(2, 1, 12, temperature=1.0, seed=3),
    asked(3, 9, 4),
    asked(4, 2, 20, temperature=0.8, top_k=9, seed=4),
    asked(5, 14, 9),
    asked(6, 3, 1),
    asked(7, 6, 17, temperature=1.0, seed=3),
    asked(8, 4, 25),
]


def drained(run):
    while True:
        try:
            next(run)
        except StopIteration as end:
            return end.value


def solo(request):
    return drained(generate(Fake(), Letters(), request))


def same(found, wanted):
    return all(np.array_equal(found[name], wanted[name]) for name in wanted)


def until_ended(ticket):
    with suppress(ComposerError, ValueError, MemoryError):
        while ticket.next() is not None:
            pass
    return ticket


@pytest.mark.parametrize("most", [1, 3, 8])
def test_eight_requests_of_eight_threads_are_what_each_is_alone(most):
    decoder = Parts()
    scheduler = Scheduler(decoder, Letters(), most)
    tickets, pieces = [scheduler.submit(request) for request in REQUESTS], {}

    def run(number):
        pieces[number] = [*iter(tickets[number].next, None)]

    threads = [threading.Thread(target=run, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    for number, request in enumerate(REQUESTS):
        found = tickets[number].outputs()
        assert same(found, solo(request))
        assert "".join(piece.text for piece in pieces[number]) == found["text"]
    together = max(len(each) - 1 for each in decoder.log if each[0] == "step")
    assert together == 1 if most == 1 else 1 < together <= most
    assert len(decoder.retired) == 8


def test_newcomers_join_those_in_flight():
    decoder = Parts()
    scheduler = Scheduler(decoder, Letters())
    runs = [scheduler.generate(request) for request in REQUESTS]
    found = [[] for _ in runs]
    for turn in range(60):  # a newcomer every third turn
        for number in range(min(turn // 3 + 1, len(runs))):
            with suppress(StopIteration):
                found[number].append(next(runs[number]).id)
    assert found == [solo(request)["ids"].tolist() for request in REQUESTS]


def test_a_long_prompt_stalls_nobody():
    """One part of it is read for each token of the others."""
    decoder = Parts()
    scheduler = Scheduler(decoder, Letters())
    first = scheduler.submit(asked(1, 1, 9))
    first.next()
    scheduler.submit(asked(2, 10, 9))
    decoder.log.clear()
    until_ended(first)
    kinds = [each[0] for each in decoder.log[:8]]
    assert kinds == ["read", "step"] * 4


def test_tokens_that_nobody_takes_wait_in_their_order():
    scheduler = Scheduler(Parts(), Letters())
    slow, fast = (scheduler.submit(REQUESTS[number]) for number in (0, 7))
    until_ended(fast)
    tokens = []
    while (token := slow.next()) is not None:
        tokens.append(token)
    assert [token.id for token in tokens] == solo(REQUESTS[0])["ids"].tolist()
    assert same(slow.outputs(), solo(REQUESTS[0]))


@pytest.mark.parametrize("ahead", [0, 3])
def test_an_answer_that_is_cancelled_ends_where_its_reader_was(ahead):
    decoder = Parts()
    scheduler = Scheduler(decoder, Letters())
    run, other = scheduler.generate(REQUESTS[0]), scheduler.submit(REQUESTS[7])
    read = [next(run) for _ in range(4)]
    for _ in range(ahead):  # it is continued with the other, beyond what was read
        other.next()
    with pytest.raises(StopIteration) as end:
        run.send(True)
    outputs = end.value.value
    assert outputs["ids"].tolist() == [token.id for token in read]
    assert outputs["text"] == "".join(token.text for token in read)
    assert outputs["finish_reason"] == "cancelled"
    until_ended(other)
    assert same(other.outputs(), solo(REQUESTS[7]))
    assert len(decoder.retired) == 2


@pytest.mark.parametrize("turns", [0, 1, 2])
def test_what_is_cancelled_before_it_begins_costs_nothing(turns):
    """It waits, or its prompt is half read."""
    decoder = Parts()
    scheduler = Scheduler(decoder, Letters())
    kept = scheduler.submit(REQUESTS[7])
    kept.next()
    given_up = scheduler.submit(asked(9, 30))
    for _ in range(turns):
        kept.next()
    given_up.cancel()
    assert given_up.next() is None
    assert given_up.outputs()["finish_reason"] == "cancelled"
    until_ended(kept)
    assert same(kept.outputs(), solo(REQUESTS[7]))
    assert ("read", 9, 30) not in decoder.log


def test_a_run_that_is_closed_leaves():
    decoder = Parts()
    scheduler = Scheduler(decoder, Letters())
    run = scheduler.generate(REQUESTS[0])
    next(run)
    run.close()
    assert len(decoder.retired) == 1
    assert same(drained(scheduler.generate(REQUESTS[7])), solo(REQUESTS[7]))


def test_no_more_is_remembered_than_there_is_memory_for():
    """Those that do not fit wait, and none overtakes: 90 bytes each, and one of 300."""
    decoder = Parts()
    scheduler = Scheduler(decoder, Letters(), nbytes=300)
    tickets = [scheduler.submit(asked(number, 3, 6)) for number in range(4)]
    tickets.insert(2, scheduler.submit(asked(9, 15, 15)))
    tickets.append(scheduler.submit(asked(5, 3, 6)))
    for ticket in tickets:
        until_ended(ticket)
    steps = [each[1:] for each in decoder.log if each[0] == "step"]
    assert max(len(each) for each in steps) == 3
    assert all(len(each) == 1 for each in steps if 9 in each)
    began = list(dict.fromkeys(each[1] for each in decoder.log if each[0] == "read"))
    assert began == [0, 1, 2, 3, 9, 5]
    assert all(same(ticket.outputs(), solo(ticket.request)) for ticket in tickets)


def test_what_would_never_fit_is_refused():
    scheduler = Scheduler(Parts(), Letters(), nbytes=300)
    with pytest.raises(ComposerError) as caught:
        scheduler.submit(asked(1, 15, 16))
    assert str(caught.value) == (
        "R567 15 positions and 16 tokens after them need 3.1e-07 GB, and sequences may take 3e-07\n"
        "    hint: lower max_tokens, shorten the input, or raise it: --place cache_gb=GB"
    )


def test_a_large_request_is_not_starved_by_small_ones_that_keep_coming():
    decoder = Parts()
    scheduler = Scheduler(decoder, Letters(), nbytes=300)
    small = [scheduler.submit(asked(number, 3, 6)) for number in range(3)]
    large = scheduler.submit(asked(9, 15, 15))
    for number in range(10, 30):
        until_ended(small.pop(0))
        small.append(scheduler.submit(asked(number, 3, 6)))
        if large.ended:
            break
    assert large.ended


def test_one_that_fails_touches_no_other():
    class Broken(Parts):
        def logits(self, state):
            return np.full(4, np.nan, np.float32) if state[0] == 9 else super().logits(state)

        def greedy(self, states):
            if any(state[0] == 8 for state in states):
                raise ValueError("not a number")
            return super().greedy(states)

    decoder = Broken()
    scheduler = Scheduler(decoder, Letters())
    good = [scheduler.submit(asked(number, 3, 9)) for number in (1, 2)]
    empty = scheduler.submit(Request([], Sampling(), StopRules(frozenset(), 3)))
    sampled, greedy = scheduler.submit(asked(9, temperature=1.0)), scheduler.submit(asked(8))
    for ticket in good:
        until_ended(ticket)
        assert same(ticket.outputs(), solo(ticket.request))
    for ticket, message in ((empty, "an empty"), (sampled, "R512"), (greedy, "not a number")):
        with pytest.raises((ComposerError, ValueError), match=message):
            ticket.next()
    assert len(decoder.retired) == 2


def test_a_step_that_fails_ends_those_that_it_continued():
    decoder = Parts()
    genuine, scheduler = decoder.step, Scheduler(decoder, Letters(), most=2)
    tickets = [scheduler.submit(asked(number)) for number in (1, 2, 3)]

    def step(states, tokens):
        if len(states) == 2 and len(states[0]) > 5:
            raise MemoryError("no room")
        genuine(states, tokens)

    decoder.step = step
    for ticket in tickets:
        until_ended(ticket)
    assert [str(ticket.failure) for ticket in tickets] == ["no room", "no room", "None"]
    assert same(tickets[2].outputs(), solo(tickets[2].request))


def test_an_interrupt_ends_what_was_begun_and_no_more():
    decoder = Parts()
    genuine, scheduler = decoder.step, Scheduler(decoder, Letters(), most=2)
    tickets = [scheduler.submit(asked(number)) for number in (1, 2, 3)]

    def step(states, tokens):
        if len(states) == 2:
            raise KeyboardInterrupt
        genuine(states, tokens)

    decoder.step = step
    with pytest.raises(KeyboardInterrupt):
        until_ended(tickets[0])
    until_ended(tickets[1])
    assert str(tickets[1].failure) == "R568 the decoder was interrupted by another run"
    until_ended(tickets[2])
    assert same(tickets[2].outputs(), solo(tickets[2].request))
