"""Read a config's numbers, or those that tensors show where it is silent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING, Any

from composer.core.problems import Problems
from composer.formats.file_problems import show_bare

from .settings import SizeWithSource

if TYPE_CHECKING:
    from composer.formats.safetensors import Tensor

MOST = 2**31


@dataclass
class ConfigReader:
    """A flat config and the tensors beside it, by their names from the layers' list on.

    What is wrong is kept in `problems`, and a stand-in is returned.
    """

    config: Mapping[str, Any]
    tensors: Mapping[str, Tensor]
    problems: Problems = field(default_factory=Problems)

    def __post_init__(self) -> None:
        self.report = self.problems.report

    def refuse(self, key: str, wanted: str) -> None:
        self.report("W275", f"{key} is {show_bare(self.config.get(key))}; expected {wanted}")

    def report_missing(self, key: str, why: str) -> None:
        self.report(
            "W276",
            f"config.json does not say {key}, {why}",
            hint=f"write {key} into config.json as the model was trained",
        )

    def size(
        self, key: str, name: str, axis: int = 0, per: int = 1, least: int = 1
    ) -> SizeWithSource:
        """Return what the config says, or else what a tensor shows along one axis."""
        stated = self.config.get(key)
        tensor = self.tensors.get(name)
        if stated is None and tensor is not None and len(tensor.shape) > axis:
            value = tensor.shape[axis] // max(per, 1)
            return SizeWithSource(value, f"{key} {value} by {tensor.name} {list(tensor.shape)}")
        if stated is None:
            self.report_missing(key, f"and there is no {name} to show it")
            return SizeWithSource(1, key)
        if type(stated) is not int or not least <= stated <= MOST:
            self.refuse(key, f"{least} or more")
            return SizeWithSource(1, key)
        return SizeWithSource(stated, f"{key} {stated}")

    def flag(self, key: str) -> bool | None:
        """Return true or false, or None where the config is silent."""
        stated = self.config.get(key)
        if stated is None or isinstance(stated, bool):
            return stated
        self.refuse(key, "true or false")
        return None

    def number(self, key: str, usual: float, below: float) -> float:
        stated = self.config.get(key, usual)
        if not is_positive(stated) or stated >= below:
            self.refuse(key, f"a number above 0 and below {below}")
            return usual
        return float(stated)


def is_positive(value: Any) -> bool:
    """Return whether this is a finite number above 0."""
    return type(value) in (int, float) and 0 < value < inf
