"""A config during its conversion from a checkpoint's keys to mlx-lm's."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from composer.core.errors import Problem

from ...checkpoints.config_keys.key_positions import Placed
from .arguments import TEXT, ArchitectureKeys


@dataclass
class ConfigDraft:
    """The settings of the text model, `source`, their conversion, `target`, and the problems.

    `config` is the complete config, `head` is whether a head is stored, `ignore` are keys
    that the author declares to have no effect. Each problem has the path of its key.
    """

    config: Mapping[str, Any]
    models: Path
    name: str
    arguments: ArchitectureKeys
    head: bool
    ignore: Collection[str]
    problems: list[Placed] = field(default_factory=list)

    def __post_init__(self) -> None:
        inner = self.config
        self.path: tuple[str, ...] = ()
        if self.arguments.nested:
            self.path = (TEXT,)
            inner = self.config[TEXT]
            if not isinstance(inner, dict):
                inner = {}
        self.source = {key: value for key, value in inner.items() if key not in self.ignore}
        self.target = dict(self.source)

    @property
    def module(self) -> str:
        """Return the module of mlx-lm that computes the text."""
        return self.arguments.module

    @property
    def kind(self) -> str:
        """Return the model_type of the text model."""
        kind = self.source.get("model_type")
        return kind if isinstance(kind, str) else self.name

    @property
    def layers(self) -> int:
        """Return the config's number of layers, or 0 if it is invalid."""
        stated = self.source.get("num_hidden_layers")
        if type(stated) is not int or not 0 < stated <= 10_000:
            return 0
        return stated

    def add_problem(
        self, message: str, *keys: str, code: str = "W257", hint: str | None = None
    ) -> None:
        """Add a problem of a key of the text model."""
        self.problems.append(((*self.path, *keys), Problem(code, message, hint=hint)))

    def add_missing(self, key: str, *keys: str) -> None:
        """Add a problem for a missing key that the architecture needs."""
        self.add_problem(
            f"{key} is missing, and mlx-lm's {self.module} needs it", *keys, code="W258"
        )
