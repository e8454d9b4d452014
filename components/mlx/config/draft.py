"""A config on its way from what a checkpoint says to what mlx-lm reads."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from composer.core.errors import Problem

from ...checkpoints.keys.places import Placed
from .arguments import TEXT, Arguments


@dataclass
class Draft:
    """`given` are the settings of the text model, `out` what they become, and what is wrong.

    `whole` is the config around them, `head` tells whether a head is stored, `ignore` are keys
    without effect by the author's word. Each problem comes with the path of its key.
    """

    whole: Mapping[str, Any]
    models: Path
    name: str
    arguments: Arguments
    head: bool
    ignore: Collection[str]
    problems: list[Placed] = field(default_factory=list)

    def __post_init__(self) -> None:
        inner = self.whole
        self.path: tuple[str, ...] = ()
        if self.arguments.nested:
            inner = self.whole[TEXT] if isinstance(self.whole[TEXT], dict) else {}
            self.path = (TEXT,)
        self.given = {key: value for key, value in inner.items() if key not in self.ignore}
        self.out = dict(self.given)

    @property
    def module(self) -> str:
        """Return the module of mlx-lm that computes the text."""
        return self.arguments.module

    @property
    def kind(self) -> str:
        """Return the model_type of the text model."""
        kind = self.given.get("model_type")
        return kind if isinstance(kind, str) else self.name

    @property
    def layers(self) -> int:
        """Return how many layers the config says, 0 if nothing sensible."""
        stated = self.given.get("num_hidden_layers")
        return stated if type(stated) is int and 0 < stated <= 10_000 else 0

    def wrong(self, message: str, *keys: str, code: str = "W257", hint: str | None = None) -> None:
        """Note what is wrong with a key of the text model."""
        self.problems.append(((*self.path, *keys), Problem(code, message, hint=hint)))

    def missing(self, key: str, *keys: str) -> None:
        """Note a key without which the architecture cannot be built."""
        self.wrong(f"{key} is missing, and mlx-lm's {self.module} needs it", *keys, code="W258")
