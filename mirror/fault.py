"""A fault that a server shows for one file or one listing."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Literal

Origin = Literal["hub", "store"]


@dataclass(frozen=True)
class Fault:
    """One fault, `times` often or always.

    Where it applies: to the `methods` and the `origins` listed; "hub" is the server of the
    repositories, "store" the one that it redirects to for LFS files.

    What is sent: `status` instead of 200 or 206; `headers` over the correct ones, where None
    removes one; `body` instead of the file; `redirect` to an address; one wrong byte
    (`corrupt`); `swap`, another body for range requests; without `ranges` always the whole file.

    How it is sent: `truncate` declares and sends only so many bytes; `cut` declares all and drops
    the connection after so many; `longer` declares and sends so many too many; `endless` declares
    no length and sends so many; `stall` waits so many seconds before the response, and `trickle`
    after every so many bytes.
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
