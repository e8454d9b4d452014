"""Problems are collected, and raised all at once."""

import pytest

from composer import ComposerError, Place, Problem
from composer.core.problems import Problems


def refused(code):
    raise ComposerError([Problem(code, "it is bad"), Problem(code, "it is worse")])


def test_what_a_block_is_refused_for_is_collected_and_the_rest_goes_on():
    problems = Problems(place=Place("a.json"))
    with problems.collect():
        refused("S401")
    with problems.collect(Place("b.yaml", 3, 1)):
        refused("S402")
    problems.report("S403", "it is the worst", "why", hint="leave it")
    with pytest.raises(ComposerError) as raised:
        problems.raise_any()
    assert [str(problem) for problem in raised.value.problems] == [
        "S401 it is bad",
        "S401 it is worse",
        "b.yaml:3:1: S402 it is bad",
        "b.yaml:3:1: S402 it is worse",
        "a.json: S403 it is the worst\n    why\n    hint: leave it",
    ]


def test_another_exception_is_not_collected():
    problems = Problems()
    with pytest.raises(ZeroDivisionError), problems.collect():
        raise ZeroDivisionError
    assert problems == []


def test_warnings_alone_refuse_nothing():
    problems = Problems()
    problems.raise_any()
    problems.report("L301", "it is odd", severity="warning")
    problems.raise_any()
    problems.report("W201", "it is wrong")
    with pytest.raises(ComposerError) as raised:
        problems.raise_any()
    assert [problem.code for problem in raised.value.problems] == ["L301", "W201"]


def test_beyond_a_limit_problems_are_counted():
    problems = Problems(limit=3)
    problems.report("S401", "it is the first")
    for _ in range(2):
        with problems.collect():
            refused("S402")
    with pytest.raises(ComposerError) as raised:
        problems.raise_any()
    assert str(raised.value).splitlines() == [
        "S401 it is the first",
        "S402 it is bad",
        "S402 it is worse",
        "    2 more problems like these are not shown",
    ]
