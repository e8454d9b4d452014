"""The fields of a form, each read once by its name; what is not read is refused."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

from composer.core.suggest import did_you_mean
from composer.server.errors import bad_request

NESTED = re.compile(r"(?P<name>[^\[\]]+)\[(?P<key>[^\[\]]*)\]")


class FormFields:
    """The fields of a form in the order that they came.

    Lists come as several `name[]`, or several `name`; objects as `name[key]`.
    """

    def __init__(self, pairs: Iterable[tuple[str, str]]) -> None:
        self._values: dict[str, list[str]] = {}
        self._objects: dict[str, dict[str, str]] = {}
        self._read: set[str] = set()
        for name, value in pairs:
            nested = NESTED.fullmatch(name)
            if nested and nested["key"]:
                self._objects.setdefault(nested["name"], {})[nested["key"]] = value
            else:
                self._values.setdefault(nested["name"] if nested else name, []).append(value)

    def text(self, name: str) -> str | None:
        """Return a field's text; None where it is not there, or empty."""
        values = self.texts(name)
        if len(values) > 1:
            raise bad_request(f"'{name}' is given {len(values)} times", name)
        return values[0] if values else None

    def texts(self, name: str) -> list[str]:
        """Return the texts of a list, without empty ones."""
        self._read.add(name)
        return [value for value in self._values.get(name, []) if value]

    def keys(self, name: str) -> dict[str, str]:
        """Return the keys of an object."""
        self._read.add(name)
        return self._objects.get(name, {})

    def number(self, name: str, least: float, most: float) -> float | None:
        """Return a number within its limits; None where it is not there."""
        text = self.text(name)
        if text is None:
            return None
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not least <= value <= most:
            raise bad_request(
                f"'{name}' must be a number from {least:g} to {most:g}, not '{text}'", name
            )
        return value

    def whole(self, name: str, least: int, most: int) -> int | None:
        """Return a whole number within its limits; None where it is not there."""
        text = self.text(name)
        if text is None:
            return None
        if not re.fullmatch(r"\d{1,18}", text) or not least <= int(text) <= most:
            raise bad_request(f"'{name}' must be a whole number from {least} to {most}", name)
        return int(text)

    def flag(self, name: str) -> bool:
        """Return true or false, which is the default."""
        text = (self.text(name) or "false").lower()
        if text not in ("true", "false", "1", "0"):
            raise bad_request(f"'{name}' must be true or false, not '{text}'", name)
        return text in ("true", "1")

    def choice(self, name: str, choices: Iterable[str], default: str) -> str:
        """Return one of a few words."""
        known = list(choices)
        text = self.text(name) or default
        if text not in known:
            near = did_you_mean(text, known)
            hint = f"; {near}" if near else ""
            raise bad_request(
                f"'{name}' is '{text}', and must be one of {', '.join(known)}{hint}", name
            )
        return text

    def refuse_unread(self) -> None:
        """Raise ApiError for a field that nothing reads, so that none is ignored."""
        for name in (*self._values, *self._objects):
            if name not in self._read:
                near = did_you_mean(name, self._read)
                hint = f"; {near}" if near else ""
                raise bad_request(
                    f"there is no field '{name}' here{hint}", name, "unknown_parameter"
                )
