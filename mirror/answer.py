"""Build responses like the Hub's, and apply faults to them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import chain, islice, repeat

from mirror.fault import Fault
from mirror.file import BLOCK, File


@dataclass(frozen=True)
class Answer:
    """A response to send: the body in pieces, and its declared length, if any."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Iterable[bytes] = ()
    length: int | None = 0


class Refused(Exception):
    """A request that is answered with an error, with code and message in the Hub's headers."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        headers: Mapping[str, str] | None = None,
        **more: str,
    ) -> None:
        super().__init__(status, code, message)
        error_headers = {"X-Error-Message": message} | ({"X-Error-Code": code} if code else {})
        self.answer = json_answer(
            {"error": message, **more}, error_headers | dict(headers or {}), status
        )


def json_answer(
    value: object, headers: Mapping[str, str] | None = None, status: int = 200
) -> Answer:
    """Answer with JSON."""
    body = json.dumps(value).encode()
    return Answer(
        status, {"Content-Type": "application/json"} | dict(headers or {}), [body], len(body)
    )


def file_answer(file: File, commit: str, span: tuple[int, int] | None, fault: Fault) -> Answer:
    """Answer with a file, or with the bytes from the first of `span` to before the second."""
    headers = {
        "Content-Type": "application/octet-stream" if file.lfs else "text/plain",
        "ETag": f'"{file.etag}"',
        "X-Repo-Commit": commit,
        "Accept-Ranges": "bytes",
    }
    if file.lfs:
        headers |= lfs_headers(file)
    start, stop = span or (0, file.size)
    if span and start >= stop:
        content_range = {"Content-Range": f"bytes */{file.size}"}
        raise Refused(416, "", "Range not satisfiable", content_range)
    source = file if span is None or fault.swap is None else File(fault.swap)
    body = source.read(start, stop)
    if fault.corrupt:
        body = _corrupt(body, file.size // 2 - start)
    if span is None:
        return Answer(200, headers, body, file.size)
    headers["Content-Range"] = f"bytes {start}-{stop - 1}/{file.size}"
    return Answer(206, headers, body, stop - start)


def lfs_headers(file: File) -> dict[str, str]:
    """Return the headers of an LFS file that a client needs before it follows the redirect."""
    return {"X-Linked-Etag": f'"{file.etag}"', "X-Linked-Size": str(file.size)}


def apply_fault(answer: Answer, fault: Fault) -> Answer:
    """Apply a fault to a response; `cut`, `stall` and `trickle` apply when it is sent."""
    if fault.status:
        answer = Refused(fault.status, "", "by a fault").answer
    if fault.redirect is not None:
        answer = Answer(302, {**answer.headers, "Location": fault.redirect})
    if fault.body is not None:
        answer = replace(answer, status=200, body=[fault.body], length=len(fault.body))
    if answer.length and fault.truncate is not None:
        answer = replace(answer, length=min(answer.length, fault.truncate))
    if answer.length and fault.longer:
        body = chain(answer.body, _zeros(fault.longer))
        answer = replace(answer, body=body, length=answer.length + fault.longer)
    if answer.length and fault.endless is not None:
        answer = replace(answer, body=_zeros(fault.endless), length=None)
    headers = {**answer.headers, **fault.headers}
    return replace(answer, headers={k: v for k, v in headers.items() if v is not None})


def _corrupt(body: Iterable[bytes], at: int) -> Iterator[bytes]:
    """Change one byte, if it is in this range."""
    for piece in body:
        if 0 <= at < len(piece):
            piece = piece[:at] + bytes([piece[at] ^ 1]) + piece[at + 1 :]
        at -= len(piece)
        yield piece


def _zeros(count: int) -> Iterator[bytes]:
    yield from islice(repeat(bytes(BLOCK)), count // BLOCK)
    yield bytes(count % BLOCK)
