import pytest

from composer.generation.reasoning import ReasoningIds, without_reasoning

MARKS = ReasoningIds(8, 9)


@pytest.mark.parametrize(
    ("ids", "left"),
    [
        ([], []),
        ([1, 2], [1, 2]),
        ([8, 1, 9, 2], [2]),
        ([1, 8, 9, 2, 8, 3, 9], [1, 2]),
        ([1, 8, 2, 3], [1]),  # never closed
        ([1, 9, 2], [1, 2]),  # never opened
        ([8, 1, 8, 2, 9, 3], [3]),  # opened twice, closed once, as a chat template splits it
    ],
)
def test_reasoning_is_left_out(ids, left):
    assert without_reasoning(ids, MARKS) == left
    assert without_reasoning(ids, None) == ids
