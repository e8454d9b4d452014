"""Read the body of a request: bounded in size and time, its file on disk and never in memory."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header
from starlette.requests import Request

from composer.server.errors import ApiError, bad_request
from composer.server.settings import ServerSettings

MAX_FIELDS = 100
MAX_TEXT = 64 * 1024
ROOM = 256 * 1024  # of a body, beside its file
FILE = "file"
Check = Callable[[list[tuple[str, str]]], None]


@dataclass
class UploadForm:
    """The fields of a form, and its file: a temporary one that has no name to be left behind."""

    fields: list[tuple[str, str]] = field(default_factory=list)
    file: BinaryIO | None = None
    filename: str = ""

    def close(self) -> None:
        """Let go of the file."""
        if self.file:
            self.file.close()


def _too_large(limit: int) -> ApiError:
    """Return the refusal of a body that is too large."""
    message = f"the upload is larger than the {limit} bytes that this server takes"
    return ApiError(413, message, param=FILE, code="file_too_large")


async def body(request: Request, limit: int, settings: ServerSettings) -> AsyncIterator[bytes]:
    """Yield the body as it comes; raise ApiError 413 past the limit, 408 where it is too slow."""
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > limit:
        raise _too_large(limit)
    began, size = time.monotonic(), 0
    stream = request.stream().__aiter__()
    while True:
        try:
            async with asyncio.timeout(settings.body_pause):
                piece = await anext(stream)
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise _too_slow() from None
        size += len(piece)
        if size > limit:
            raise _too_large(limit)
        late = time.monotonic() - began - settings.body_grace
        if late > 0 and size < late * settings.body_rate:
            raise _too_slow()
        yield piece


def _too_slow() -> ApiError:
    message = "the body of the request came too slowly"
    return ApiError(408, message, code="timeout", headers={"connection": "close"})


async def read_form(request: Request, settings: ServerSettings, check: Check) -> UploadForm:
    """Read a form; `check` is called with the fields before the file is read, if they come first.

    Raise ApiError for what is not a form, or too large, or too slow; what was written of the file
    is then gone.
    """
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    if kind != b"multipart/form-data" or not options.get(b"boundary"):
        raise bad_request("the body must be multipart/form-data with a boundary", None)
    form = UploadForm()
    try:
        reader = _Reader(form, check)
        parser = MultipartParser(options[b"boundary"], reader.callbacks())
        async for piece in body(request, settings.max_upload + ROOM, settings):
            parser.write(piece)
            if reader.size > settings.max_upload:
                raise _too_large(settings.max_upload)
        parser.finalize()
        if not reader.ended:
            raise bad_request("the form ends before its last boundary", None)
    except FormParserError as error:
        form.close()
        raise bad_request(f"the form cannot be read: {error}", None) from None
    except BaseException:
        form.close()
        raise
    return form


class _Reader:
    """What a parser of forms calls."""

    def __init__(self, form: UploadForm, check: Check) -> None:
        self.form = form
        self.size = 0
        self.ended = False
        self._check = check
        self._header = [b"", b""]
        self._headers: dict[bytes, bytes] = {}
        self._name = ""
        self._text = bytearray()
        self._in_file = False

    def callbacks(self) -> Any:
        """Return the callbacks by their names."""
        return {
            "on_part_begin": self._begin,
            "on_header_field": lambda data, start, stop: self._add(0, data[start:stop]),
            "on_header_value": lambda data, start, stop: self._add(1, data[start:stop]),
            "on_header_end": self._header_end,
            "on_headers_finished": self._headers_finished,
            "on_part_data": lambda data, start, stop: self._data(data[start:stop]),
            "on_part_end": self._part_end,
            "on_end": self._end,
        }

    def _begin(self) -> None:
        self._headers, self._text, self._in_file = {}, bytearray(), False

    def _add(self, part: int, data: bytes) -> None:
        self._header[part] += data

    def _header_end(self) -> None:
        name, value = self._header
        self._headers[name.lower()] = value
        self._header = [b"", b""]

    def _headers_finished(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        if b"name" not in options:
            raise bad_request("a part of the form has no name", None)
        self._name = options[b"name"].decode("utf-8", "replace")
        self._in_file = b"filename" in options or self._name == FILE
        if not self._in_file:
            if len(self.form.fields) >= MAX_FIELDS:
                raise bad_request(f"the form has more than {MAX_FIELDS} fields", None)
            return
        if self._name != FILE:
            raise bad_request(
                f"there is no file '{self._name}' here", self._name, "unknown_parameter"
            )
        if self.form.file is not None:
            raise bad_request("the form has several files", FILE)
        self._check(self.form.fields)
        self.form.filename = options.get(b"filename", b"").decode("utf-8", "replace")
        self.form.file = tempfile.TemporaryFile(prefix="composer-")  # noqa: SIM115

    def _data(self, data: bytes) -> None:
        if self._in_file:
            assert self.form.file is not None
            self.form.file.write(data)
            self.size += len(data)
            return
        self._text += data
        if len(self._text) > MAX_TEXT:
            raise bad_request(f"'{self._name}' is longer than {MAX_TEXT} bytes", self._name)

    def _part_end(self) -> None:
        if self._in_file:
            return
        try:
            text = self._text.decode()
        except UnicodeDecodeError:
            raise bad_request(f"'{self._name}' is not UTF-8", self._name) from None
        self.form.fields.append((self._name, text))

    def _end(self) -> None:
        self.ended = True
