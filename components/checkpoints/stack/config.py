"""What the tensors of a stack do not say: its layers, in order, and their settings."""

from __future__ import annotations

from typing import Self

from pydantic import ConfigDict, Field, model_validator

from composer.core.component import ComponentConfig

from .layers import NORMS, PARTS, Entry, Layer, kind_of, settings_of


class LayerStackConfig(ComponentConfig):
    """What the tensors do not say: the kinds of the layers, in order."""

    model_config = ConfigDict(
        json_schema_extra={
            "dependentSchemas": {
                f"{norm}_eps": {"properties": {"layers": {"contains": {"const": norm}}}}
                for norm in NORMS
            }
        }
    )

    layers: list[Entry] = Field(
        min_length=1,
        max_length=64,
        description="The layers in order, each a name, or a mapping from a name to its settings; "
        "sizes come from tensors.",
        examples=[["linear", {"swiglu": {"gate": "second"}}, "linear"]],
    )
    layer_norm_eps: float = Field(
        1e-5, gt=0, lt=1, description="Epsilon of each layer_norm without one of its own."
    )
    rms_norm_eps: float = Field(
        1e-5,
        gt=0,
        lt=1,
        description="Epsilon of each rms_norm without one of its own: 1e-5 is MLX's default, 1e-6 "
        "that of many models.",
    )
    prefix: str = Field(
        "",
        description="What stands before the layers' numbers or names in the tensors' names; "
        "tensors that begin otherwise are not this component's.",
    )
    names: list[str] = Field(
        default_factory=list,
        description="Names of the layers with weights, in order, where the tensors have no "
        "numbers; the prefix is the whole name of one that is named ''.",
        examples=[["norm", "up", "down"]],
    )

    @model_validator(mode="after")
    def _epsilon_belongs_to_a_norm(self) -> Self:
        for kind in NORMS:
            if f"{kind}_eps" in self.model_fields_set and kind not in self.layers:
                why = f"no layer is a {kind}"
                if kind in self.kinds:
                    why = f"each {kind} has its own eps"
                raise ValueError(f"{kind}_eps is set but {why}")
        return self

    @model_validator(mode="after")
    def _one_name_each(self) -> Self:
        with_weights = [kind for kind in self.kinds if kind in PARTS]
        if self.names and len(self.names) != len(with_weights):
            raise ValueError(
                f"names has {len(self.names)} names, but {len(with_weights)} layers have weights: "
                f"{', '.join(with_weights)}"
            )
        return self

    @property
    def kinds(self) -> list[str]:
        """Return the names of the layers, without their settings."""
        return [kind_of(entry) for entry in self.layers]

    @property
    def modules(self) -> list[str]:
        """Return what each layer is called in the tensors' names: its name, or its number."""
        named = iter(self.names)
        found: list[str] = []
        for number, kind in enumerate(self.kinds):
            if self.names and kind in PARTS:
                found.append(next(named))
            else:
                found.append(str(number))
        return found

    @property
    def steps(self) -> tuple[Layer, ...]:
        """Return the layers, each with its settings and its epsilon."""
        epsilons = {"layer_norm": self.layer_norm_eps, "rms_norm": self.rms_norm_eps}
        found = []
        for entry, module in zip(self.layers, self.modules, strict=True):
            kind, settings = kind_of(entry), settings_of(entry)
            eps = epsilons.get(kind, 0.0)
            if kind in NORMS and settings:
                eps = settings.eps
            found.append(Layer(kind, module, settings, eps))
        return tuple(found)
