"""The tokenizers library, in this process or in a child that can be ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from threading import Lock
from typing import Any, Protocol

import numpy as np

from composer.core.child_process import Child, ChildExited, ChildTimeout
from composer.core.isolation import MEMORY, is_isolated

MODULE = "composer.generation.tokenizer_child"
SECONDS = 60.0  # to load, and to tokenize a text
DECODE_SECONDS = 5.0  # to write a few ids, which is done for each token
Flags = Mapping[str, bool]
Added = Sequence[tuple[str, Flags]]


class RawTokenizer(Protocol):
    """A tokenizer as it is used here; `add` takes tokens, special ones or not, all at once.

    `encode` gives the ids and the tokens of a text, with those that the tokenizer adds by itself
    where `special`.
    """

    def token_to_id(self, token: str) -> int | None: ...

    def id_to_token(self, id: int) -> str | None: ...

    def add(self, tokens: Added, special: bool) -> None: ...

    def encode(self, text: str, special: bool = False) -> tuple[list[int], list[str]]: ...

    def decode(self, ids: Sequence[int], skip_special_tokens: bool = True) -> str: ...


def open_tokenizer(data: bytes) -> RawTokenizer:
    """Load a tokenizer.json; raise RuntimeError where it cannot be, and what the library panics."""
    return IsolatedTokenizer(data) if is_isolated() else LocalTokenizer(data)


class LocalTokenizer:
    """A tokenizer in this process."""

    def __init__(self, data: bytes) -> None:
        from tokenizers import Tokenizer

        self.tokenizer = Tokenizer.from_str(data.decode())

    def token_to_id(self, token: str) -> int | None:
        """Return the id of a token, or None."""
        found: int | None = self.tokenizer.token_to_id(token)
        return found

    def id_to_token(self, id: int) -> str | None:
        """Return the token of an id, or None."""
        found: str | None = self.tokenizer.id_to_token(id)
        return found

    def add(self, tokens: Added, special: bool) -> None:
        """Add tokens; each call builds the library's table anew."""
        from tokenizers import AddedToken

        made = [AddedToken(content, **flags) for content, flags in tokens]
        if special:
            self.tokenizer.add_special_tokens(made)
        else:
            self.tokenizer.add_tokens(made)

    def encode(self, text: str, special: bool = False) -> tuple[list[int], list[str]]:
        """Return the ids and the tokens of a text."""
        encoding = self.tokenizer.encode(text, add_special_tokens=special)
        return encoding.ids, encoding.tokens

    def decode(self, ids: Sequence[int], skip_special_tokens: bool = True) -> str:
        """Return the text of ids."""
        return str(self.tokenizer.decode(ids, skip_special_tokens=skip_special_tokens))


class IsolatedTokenizer:
    """A tokenizer in a child: what aborts or hangs there is an error here."""

    def __init__(self, data: bytes) -> None:
        self.child = Child(MODULE, MEMORY)
        self.lock = Lock()
        self.tokens: dict[int, str | None] = {}
        self._ask("load", data=np.frombuffer(data, np.uint8))

    def token_to_id(self, token: str) -> int | None:
        """Return the id of a token, or None."""
        found: int | None = self._ask("token_to_id", token)
        return found

    def id_to_token(self, id: int) -> str | None:
        """Return the token of an id, or None; none changes, so each is asked for once."""
        if id not in self.tokens:
            self.tokens[id] = self._ask("id_to_token", id)
        return self.tokens[id]

    def add(self, tokens: Added, special: bool) -> None:
        """Add tokens; each call builds the library's table anew."""
        self._ask("add", [[content, dict(flags)] for content, flags in tokens], special)

    def encode(self, text: str, special: bool = False) -> tuple[list[int], list[str]]:
        """Return the ids and the tokens of a text."""
        ids, tokens = self._ask("encode", text, special)
        return [int(id) for id in ids], [str(token) for token in tokens]

    def decode(self, ids: Sequence[int], skip_special_tokens: bool = True) -> str:
        """Return the text of ids."""
        given = [int(id) for id in ids]
        return str(self._ask("decode", given, skip_special_tokens, seconds=DECODE_SECONDS))

    def _ask(
        self, method: str, *arguments: Any, seconds: float = SECONDS, **arrays: np.ndarray
    ) -> Any:
        words = {"method": method, "arguments": arguments}
        with self.lock:
            try:
                answer, _ = self.child.ask(words, arrays, seconds)
            except ChildTimeout:
                raise RuntimeError(f"tokenizers took longer than {seconds:g} s") from None
            except ChildExited as error:
                raise RuntimeError(f"tokenizers ended its process ({error})") from None
        if "error" in answer:
            raise RuntimeError(f"tokenizers failed: {answer['error']}")
        return answer["answer"]
