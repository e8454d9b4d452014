"""The types that the keys of a bundle share: names, paths, references, and strict models."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

NAME = r"^[a-z][a-z0-9_]*$"
SLUG = r"^[a-z0-9][a-z0-9-]*$"
DOTTED = r"^[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*$"
METHOD = r"^[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)?$"
SPACE = r"^[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*$"
REFERENCE = r"^\$[a-z][a-z0-9_]*(\.[A-Za-z0-9_]+)?$"
# A package of an index with versions, as PEP 508 has it: no address, no marker, no extra.
VERSIONS = r"(===?|~=|!=|<=|>=|<|>) ?[A-Za-z0-9.*+!_-]+"
REQUIREMENT = rf"^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])? ?({VERSIONS}( ?, ?{VERSIONS})*)?$"
LINT = r"^L3[0-9][0-9]$"
OUTPUT = r"^[A-Za-z0-9_]+$"
HUB_ID = r"^[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*$"

Dtype = Literal["float32", "float16", "bfloat16"]
Bits = Literal[2, 3, 4, 5, 6, 8]
GroupSize = Literal[16, 32, 64, 128]
Mode = Literal["affine", "dynamic", "mxfp4", "mxfp8", "nvfp4"]
InputType = Literal["audio", "text", "ids", "mask", "image", "images", "tensor"]

Line = Annotated[str, Field(min_length=1, max_length=2000)]
Name = Annotated[str, Field(pattern=NAME, max_length=64)]
KeyPath = Annotated[str, Field(pattern=DOTTED, max_length=128)]
HubId = Annotated[str, Field(pattern=HUB_ID, max_length=128)]
Reference = Annotated[str, Field(pattern=REFERENCE, max_length=128)]
Space = Annotated[str, Field(pattern=SPACE, max_length=128)]
Kind = Annotated[str, Field(pattern=DOTTED, max_length=64)]
LintCode = Annotated[str, Field(pattern=LINT)]
Requirement = Annotated[str, Field(pattern=REQUIREMENT, max_length=128)]
Output = Annotated[str, Field(pattern=OUTPUT, max_length=64)]
PortText = Annotated[str, Field(min_length=1, max_length=200)]
Range = Annotated[list[float | None], Field(min_length=2, max_length=2)]
Inside = Annotated[str, Field(min_length=1, max_length=1024)]

SourceText = Annotated[
    str,
    Field(min_length=1, max_length=512, json_schema_extra={"pattern": r"^(hf:.+/.+|\./.*|\.)$"}),
]

T = TypeVar("T")


def _not_null(value: Any) -> Any:
    if value is None:
        raise PydanticCustomError("null", "a value")
    return value


Maybe = Annotated[T | None, BeforeValidator(_not_null)]

TEXT, OTHER = "\0text", "\0other"


def tag_of(value: Any) -> str:
    """Name the branch of a union that pydantic checks: a text, or a mapping or list."""
    if isinstance(value, dict | list | BaseModel):
        return OTHER
    return TEXT


class Strict(BaseModel):
    """Refuse unknown keys, and convert no types."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)
