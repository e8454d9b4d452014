import pytest

from composer.core.errors import ComposerError
from composer.generation.stop import StopRules


def test_an_id_stops_before_the_length_does():
    stop = StopRules(frozenset({9}), 3)
    assert [stop.after(1, 1), stop.after(9, 1), stop.after(1, 3), stop.after(9, 3)] == [
        None,
        "stop",
        "length",
        "stop",
    ]


def test_at_least_one_token_is_wanted():
    with pytest.raises(ComposerError) as caught:
        StopRules(frozenset(), 0)
    assert str(caught.value) == "R510 max_tokens is 0; it must be at least 1"
