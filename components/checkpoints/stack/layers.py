"""The layers of a stack: names, and settings of those that have some."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, ConfigDict, Discriminator, Field, Tag, model_validator

from composer.core.component import ComponentConfig
from composer.core.suggest import listed, with_nearest

PARTS: dict[str, tuple[str, ...]] = {
    "layer_norm": ("weight", "bias"),
    "rms_norm": ("weight",),
    "linear": ("weight", "bias"),
}
NORMS = ("layer_norm", "rms_norm")
GATED = {"swiglu": "silu", "geglu": "gelu", "geglu_tanh": "gelu_tanh"}
ROWS = ("stack_frames", "pool")
# What other libraries call an activation, and what it is here.
ELSEWHERE = {
    "swish": "swish is called silu here",
    "gelu_new": "gelu_new is called gelu_tanh here",
    "gelu_fast": "gelu_fast is called gelu_tanh here",
    "gelu_pytorch_tanh": "gelu_pytorch_tanh is called gelu_tanh here",
    "dropout": "dropout does nothing when a model runs: leave it out, and name the others by names",
    "identity": "identity does nothing: leave it out, and name the others by names",
    "quick_gelu": "quick_gelu, x times the sigmoid of 1.702 x, is none of these layers",
    "glu": "glu, whose gate is a plain sigmoid, is none of these layers",
}


class Norm(ComponentConfig):
    """A norm whose epsilon is its own."""

    eps: float = Field(gt=0, lt=1, description="epsilon of this norm alone")


class Gate(ComponentConfig):
    """A row of 2 W numbers becomes W: one half, after its activation, times the other."""

    gate: Literal["first", "second"] = Field(
        description="the half that goes through the activation: `first` as in a fused "
        "gate_up_proj, `second` as in Ultravox and in diffusers"
    )


class StackFrames(ComponentConfig):
    """So many rows, one after the other, become one, as by the operator of this name."""

    by: int = Field(ge=1, le=10_000, description="rows that become one, side by side")
    remainder: Literal["refuse", "drop", "pad"] = Field(
        "refuse",
        description="what becomes of fewer rows at the end: an error, nothing, or rows of 0 more",
    )


class Pool(ComponentConfig):
    """So many rows, one after the other, become one, as by the operator of this name."""

    by: int = Field(ge=1, le=10_000, description="rows that become one")
    mode: Literal["mean", "max"] = Field(
        "mean", description="the mean of the rows, or the largest number of each column"
    )
    remainder: Literal["refuse", "drop", "keep"] = Field(
        "refuse",
        description="what becomes of fewer rows at the end: an error, nothing, or a row of them",
    )


class LayerWithSettings(ComponentConfig):
    """One layer with its settings: a mapping with its name as the only key."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1, "maxProperties": 1})

    layer_norm: Norm | None = Field(None, description="a layer_norm with an epsilon of its own")
    rms_norm: Norm | None = Field(None, description="an rms_norm with an epsilon of its own")
    swiglu: Gate | None = Field(None, description="silu of one half times the other")
    geglu: Gate | None = Field(None, description="gelu of one half times the other")
    geglu_tanh: Gate | None = Field(None, description="gelu_tanh of one half times the other")
    stack_frames: StackFrames | None = Field(None, description="rows side by side")
    pool: Pool | None = Field(None, description="the mean or maximum of rows")

    @model_validator(mode="before")
    @classmethod
    def _has_settings(cls, value: Any) -> Any:
        for name in PLAIN:
            if name not in NORMS and isinstance(value, dict) and name in value:
                raise ValueError(f"{name} has no settings: write its name alone")
        return value

    @model_validator(mode="after")
    def _one(self) -> Self:
        if len(self.given) != 1:
            names = listed(self.given) if self.given else "none"
            raise ValueError(f"a layer has one name, not {names}")
        return self

    @property
    def given(self) -> dict[str, Any]:
        """Return the layers that have settings here, by name."""
        return {name: settings for name, settings in self if settings is not None}


EXAMPLES = {
    **dict.fromkeys(GATED, "{gate: first} or {gate: second}"),
    "stack_frames": "{by: 5}",
    "pool": "{by: 2, mode: mean}",
}
Plain = Literal["layer_norm", "rms_norm", "linear", "silu", "gelu", "gelu_tanh", "relu"]
PLAIN = ("layer_norm", "rms_norm", "linear", "silu", "gelu", "gelu_tanh", "relu")


def _known(value: Any) -> Any:
    """Refuse the name of no layer, or of one whose settings are missing, and say what to write."""
    if not isinstance(value, str) or value in PLAIN:
        return value
    if value in EXAMPLES:
        raise ValueError(f"{value} has settings: write {value}: {EXAMPLES[value]}")
    layers = (*PLAIN, *EXAMPLES)
    if value in ELSEWHERE:
        raise ValueError(ELSEWHERE[value])
    message = with_nearest(f"there is no layer '{value[:64]}'", value, layers)
    raise ValueError(f"{message}; layers: {listed(layers)}")


def _branch(value: Any) -> str:
    plain = isinstance(value, str | int | float | bool) or value is None
    return "Plain" if plain else "LayerWithSettings"


Entry = Annotated[
    Annotated[Plain, BeforeValidator(_known), Tag("Plain")]
    | Annotated[LayerWithSettings, Tag("LayerWithSettings")],
    Discriminator(_branch),
]


@dataclass(frozen=True)
class Layer:
    """One layer of a stack; `module` is what its tensors' names begin with."""

    kind: str
    module: str
    settings: Any = None
    eps: float = 0.0

    def divides(self) -> bool:
        """Return whether it gives fewer rows than it takes."""
        return self.kind in ROWS

    def rows(self, count: int) -> int:
        """Return how many rows it makes of so many."""
        if not self.divides():
            return count
        by: int = self.settings.by
        if self.settings.remainder in ("pad", "keep"):
            return -(-count // by)
        return count // by

    def width(self, width: int) -> int:
        """Return how wide its rows are, where it has no tensors."""
        if self.kind == "stack_frames":
            return width * int(self.settings.by)
        if self.kind in GATED:
            return width // 2
        return width


def kind_of(entry: Any) -> str:
    """Return the name of a layer as the config has it."""
    if isinstance(entry, str):
        return entry
    name: str = next(iter(entry.given))
    return name


def settings_of(entry: Any) -> Any:
    """Return the settings of a layer as the config has it, if it has any."""
    if isinstance(entry, str):
        return None
    return next(iter(entry.given.values()))
