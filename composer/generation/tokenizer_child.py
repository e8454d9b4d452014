"""Load a tokenizer and use it, as the child process of `tokenizer_process`."""

from __future__ import annotations

from typing import Any

import numpy as np

from composer.core.child_process import answer_questions
from composer.core.native_failures import describe_error, is_failure
from composer.generation.tokenizer_process import LocalTokenizer

_library: list[LocalTokenizer] = []
_METHODS = ("token_to_id", "id_to_token", "add", "encode", "decode")


def _answer(
    words: dict[str, Any], arrays: dict[str, np.ndarray]
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Call what is asked for; a panic is an answer, too."""
    try:
        if words["method"] == "load":
            _library[:] = [LocalTokenizer(arrays["data"].tobytes())]
            return {"answer": None}, {}
        assert words["method"] in _METHODS
        return {"answer": getattr(_library[0], words["method"])(*words["arguments"])}, {}
    except BaseException as error:
        if not is_failure(error):
            raise
        return {"error": describe_error(error)}, {}


if __name__ == "__main__":
    answer_questions(_answer)
