"""Groups of `by` rows that follow one another, for operators that make one row of each."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

By = Annotated[int, Field(ge=1, le=10_000, description="How many rows become one.")]


def count_groups(rows: int, by: int, remainder: str) -> int:
    """Return how many groups there are; raise ValueError if the rows cannot be grouped.

    `remainder` says what becomes of the last rows where they are fewer than `by`: `drop` leaves
    them out, `refuse` takes none, anything else makes one more group.
    """
    whole, left = divmod(rows, by)
    if left and remainder == "refuse":
        hint = "say under 'remainder' what becomes of them"
        raise ValueError(f"cannot group {rows} rows by {by}: {left} left over; {hint}")
    if left and remainder == "drop" and not whole:
        raise ValueError(f"would drop all {rows} rows: there are fewer than {by}")
    if left and remainder != "drop":
        return whole + 1
    return whole
