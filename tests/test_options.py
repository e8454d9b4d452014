from typing import Annotated

import numpy as np
import pytest
from pydantic import Field

import composer
from composer.checker.options import read_option
from composer.core.call_signature import Option
from tests.fakes import BUNDLE, write

MARKS = tuple[int | str, int | str] | None


@pytest.mark.parametrize(
    ("annotation", "given", "read"),
    [
        (MARKS, ["<|channel>", 7], ("<|channel>", 7)),
        (MARKS, None, None),
        (tuple[int | str, ...], [1, "a", 2], (1, "a", 2)),
        (float, 1, 1.0),
        (bool, True, True),
    ],
)
def test_a_literal_becomes_what_its_option_says(annotation, given, read):
    assert read_option("x", Option(annotation, None), given) == read


@pytest.mark.parametrize(
    ("annotation", "given", "message"),
    [
        (MARKS, ["a"], "option 'x' should have 2 items, not 1"),
        (MARKS, ["a", "b", "c"], "option 'x' should have 2 items, not 3"),
        (MARKS, [], "option 'x' should have 2 items, not 0"),
        (MARKS, "ab", "option 'x' should be a list, not 'ab'"),
        (MARKS, [1.5, "b"], "option 'x' should be a whole number or text, not a list"),
        (int, "7", "option 'x' should be a whole number, not '7'"),
        (bool, 1, "option 'x' should be true or false, not the number 1"),
        (
            Annotated[int, Field(ge=1)],
            0,
            "option 'x' should be greater than or equal to 1, not the number 0",
        ),
    ],
)
def test_what_it_should_be_is_reported(annotation, given, message):
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        read_option("x", Option(annotation, None), given)
    assert str(caught.value) == message


@pytest.mark.usefixtures("fakes")
def test_no_options_for_a_node_are_none(tmp_path):
    clip = (np.arange(16, dtype=np.float32) / 16, 8000)
    with composer.load(write(tmp_path, BUNDLE)) as loaded:
        plain = loaded.run(audio=clip).text
        assert loaded.run(audio=clip, options={"answer": {}}).text == plain
        assert loaded.run(audio=clip, options={"answer": {"end": "!"}}).text != plain
