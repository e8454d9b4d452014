"""The tokenizers library, in this process or in a child that can be ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from threading import Lock
from typing import Any, Protocol

import numpy as np

from composer.core.child_process import Child, ChildExited, ChildTimeout
from composer.core.isolation import MEMORY

MODULE = "composer.components.text.tokenizer_child"
SECONDS = 60.0
Flags = Mapping[str, bool]
Added = Sequence[tuple[str, Flags]]


class RawTokenizer(Protocol):
    """A tokenizer as it is used here; `add` takes tokens, special ones or not, all at once."""

    def token_to_id(self, token: str) -> int | None: ...

    def add(self, tokens: Added, special: bool) -> None: ...

    def encode(self, text: str) -> tuple[list[int], list[str]]: ...


class LocalTokenizer:
    """A tokenizer in this process."""

    def __init__(self, data: bytes) -> None:
        from tokenizers import Tokenizer

        self.tokenizer = Tokenizer.from_str(data.decode())

    def token_to_id(self, token: str) -> int | None:
        """Return the id of a token, or None."""
        found: int | None = self.tokenizer.token_to_id(token)
        return found

    def add(self, tokens: Added, special: bool) -> None:
        """Add tokens; each call builds the library's table anew."""
        from tokenizers import AddedToken

        made = [AddedToken(content, **flags) for content, flags in tokens]
        if special:
            self.tokenizer.add_special_tokens(made)
        else:
            self.tokenizer.add_tokens(made)

    def encode(self, text: str) -> tuple[list[int], list[str]]:
        """Return the ids and the tokens of a text."""
        encoding = self.tokenizer.encode(text, add_special_tokens=False)
        return encoding.ids, encoding.tokens


class IsolatedTokenizer:
    """A tokenizer in a child: what aborts or hangs there is an error here."""

    def __init__(self, data: bytes) -> None:
        self.child = Child(MODULE, MEMORY)
        self.lock = Lock()
        self._ask("load", data=np.frombuffer(data, np.uint8))

    def token_to_id(self, token: str) -> int | None:
        """Return the id of a token, or None."""
        found: int | None = self._ask("token_to_id", token)
        return found

    def add(self, tokens: Added, special: bool) -> None:
        """Add tokens; each call builds the library's table anew."""
        self._ask("add", [[content, dict(flags)] for content, flags in tokens], special)

    def encode(self, text: str) -> tuple[list[int], list[str]]:
        """Return the ids and the tokens of a text."""
        ids, tokens = self._ask("encode", text)
        return [int(id) for id in ids], [str(token) for token in tokens]

    def _ask(self, method: str, *arguments: Any, **arrays: np.ndarray) -> Any:
        words = {"method": method, "arguments": arguments}
        with self.lock:
            try:
                answer, _ = self.child.ask(words, arrays, SECONDS)
            except ChildTimeout:
                raise RuntimeError(f"tokenizers took longer than {SECONDS:g} s") from None
            except ChildExited as error:
                raise RuntimeError(f"tokenizers ended its process ({error})") from None
        if "error" in answer:
            raise RuntimeError(f"tokenizers failed: {answer['error']}")
        return answer["answer"]
