"""The errors of OpenAI's API: a status, and a body that its clients read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.responses import JSONResponse

from composer.core.errors import ComposerError

INVALID, SERVER = "invalid_request_error", "server_error"
TOO_LONG = {"S487"}  # audio
CLOSED = {"R508", "R509"}
ASKED_WRONGLY = ("R51", "R52", "R54", "R55", "S48", "R593", "R594")


class ApiError(Exception):
    """A refusal as OpenAI's API answers it."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        kind: str = INVALID,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.param = param
        self.code = code
        self.kind = kind
        self.headers = dict(headers or {})

    def body(self) -> dict[str, Any]:
        """Return the object that clients read: all four keys are always there."""
        error = {
            "message": self.message,
            "type": self.kind,
            "param": self.param,
            "code": self.code,
        }
        return {"error": error}

    def response(self) -> JSONResponse:
        """Return the answer."""
        return JSONResponse(self.body(), self.status, headers=self.headers)


def bad_request(message: str, param: str | None, code: str | None = None) -> ApiError:
    """Return a 400 that names the field."""
    return ApiError(400, message, param=param, code=code)


def unsupported_request(message: str, param: str | None) -> ApiError:
    """Return a 400 for what the API has and this server, or this model, has not."""
    return bad_request(message, param, "not_supported")


def no_retry_error(status: int, message: str, code: str, kind: str = SERVER) -> ApiError:
    """Return a fault of ours that a client need not try again: it would happen again."""
    return ApiError(status, message, code=code, kind=kind, headers={"x-should-retry": "false"})


def api_error_of(error: ComposerError, param: str | None = None) -> ApiError:
    """Return the error of a job as the API writes it, without the paths of this machine.

    What the request was wrong about is a 400 whose `code` is ours, audio that is too long a 413,
    and every other one a 500 that is not to be tried again.
    """
    first = next((p for p in error.problems if p.severity == "error"), error.problems[0])
    texts = []
    for problem in error.problems:
        hint = f" ({problem.hint})" if problem.hint else ""
        texts.append(f"{problem.message}{hint}")
    message = "; ".join(texts)
    if first.code in TOO_LONG:
        return ApiError(413, message, param="file", code="file_too_large")
    if first.code in CLOSED:
        return ApiError(503, message, code=first.code, kind=SERVER)
    if first.code.startswith(ASKED_WRONGLY):
        about_audio = first.code.startswith("S48")
        return bad_request(message, "file" if about_audio else param, first.code)
    return no_retry_error(500, message, first.code)
