"""What a server does wrong with one file or one listing."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Literal

Origin = Literal["hub", "store"]


@dataclass(frozen=True)
class Fault:
    """One way to be wrong, `times` over or for ever.

    Where it acts: on the `methods` and the `origins` named; "hub" is the server that knows
    repositories, "store" the one that it redirects to for LFS files.

    What is answered: `status` instead of 200 or 206; `headers` over the right ones, where None
    leaves one out; `body` instead of the file; `redirect` to an address; one byte that is wrong
    (`corrupt`); `swap`, another body for requests of a range; without `ranges` always the whole.

    How it is sent: `truncate` says and sends only so many bytes; `cut` says all and drops the
    connection after so many of this answer; `longer` says and sends so many too many; `endless`
    says no length and sends so many; `stall` waits so many seconds before it answers at all, and
    `trickle` after each so many bytes.
    """

    times: int | None = None
    methods: Collection[str] = ("HEAD", "GET")
    origins: Collection[Origin] = ("hub", "store")
    status: int | None = None
    headers: Mapping[str, str | None] = field(default_factory=dict)
    body: bytes | None = None
    redirect: str | None = None
    corrupt: bool = False
    swap: bytes | None = None
    ranges: bool = True
    truncate: int | None = None
    cut: int | None = None
    longer: int = 0
    endless: int | None = None
    stall: float = 0
    trickle: tuple[int, float] | None = None
