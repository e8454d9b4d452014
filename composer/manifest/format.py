"""Describe format 1 of a bundle: every key, its type, and what it is for."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag
from pydantic_core import PydanticCustomError

VERSION = 1

NAME = r"^[a-z][a-z0-9_]*$"
SLUG = r"^[a-z0-9][a-z0-9-]*$"
DOTTED = r"^[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*$"
METHOD = r"^[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)?$"
SPACE = r"^[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*$"
REFERENCE = r"^\$[a-z][a-z0-9_]*(\.[A-Za-z0-9_]+)?$"
HUB_ID = r"^[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*$"

Dtype = Literal["float32", "float16", "bfloat16"]
Bits = Literal[2, 3, 4, 5, 6, 8]
GroupSize = Literal[32, 64, 128]
InputType = Literal["audio", "text", "ids", "mask", "image", "tensor"]

Line = Annotated[str, Field(min_length=1, max_length=2000)]
Name = Annotated[str, Field(pattern=NAME, max_length=64)]
HubId = Annotated[str, Field(pattern=HUB_ID, max_length=128)]
Reference = Annotated[str, Field(pattern=REFERENCE, max_length=128)]
Space = Annotated[str, Field(pattern=SPACE, max_length=128)]
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


def _either(value: Any) -> str:
    return OTHER if isinstance(value, dict | list | BaseModel) else TEXT


class Strict(BaseModel):
    """Refuse what is not described, and convert nothing."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Origin(Strict):
    """Where one part of the bundle comes from."""

    what: Line = Field(description="The part: a component's name, or words such as `speech LoRA`.")
    from_: Line = Field(
        alias="from", description="What it was made from: a hub ID, an address, or a paper."
    )
    how: Maybe[Line] = Field(None, description="How it was made: trained, converted, quantized.")
    licence: Maybe[Line] = Field(None, description="The licence of this part, as an SPDX name.")


class Rule(Strict):
    """How one group of weights is quantized."""

    bits: Bits = Field(description="Bits per weight.")
    group_size: Maybe[GroupSize] = Field(
        None, description="Weights that share one scale; the recipe's own when absent."
    )


class Recipe(Strict):
    """Quantize a component's projections when it is loaded."""

    bits: Bits = Field(description="Bits per weight wherever no rule says otherwise.")
    group_size: GroupSize = Field(64, description="Weights that share one scale.")
    rules: dict[
        Line,
        Annotated[Annotated[Bits, Tag(TEXT)] | Annotated[Rule, Tag(OTHER)], Discriminator(_either)],
    ] = Field(
        default={},
        description="Bits for the weights whose name matches a glob; the last match counts.",
        examples=[{"*.self_attn.*": 8, "*.mlp.*": 4}],
    )
    keep: list[Line] = Field(
        default=[],
        description="Globs of weight names that stay as they are stored.",
        examples=[["lm_head", "*.down_proj"]],
    )


class LoraAdapter(Strict):
    """Low-rank weights that a decoder can switch on and off."""

    weights: Inside = Field(
        description="The adapter's file or folder: a source's name, then the path inside it.",
        examples=["repo/lora"],
    )
    scale: Maybe[Annotated[float, Field(ge=-1000, le=1000)]] = Field(
        None, description="What its update is multiplied by; absent: what its own config says."
    )


class ComponentModel(Strict):
    """One part of the system: a feature extractor, an encoder, a projector, a decoder, a prompt."""

    use: str = Field(
        pattern=DOTTED,
        max_length=64,
        description="The kind of component; `composer list --components` lists them.",
        examples=["audio.log_mel", "lm", "meralion"],
    )
    weights: Maybe[Inside] = Field(
        None,
        description="Its weights, a file or folder: a source's name, then the path inside it.",
        examples=["repo/decoder"],
    )
    files: Maybe[Inside] = Field(
        None,
        description="Its other files, such as a tokenizer: a source's name, then the path.",
        examples=["repo/tokenizer"],
    )
    precision: Maybe[
        Annotated[
            Annotated[Dtype, Tag(TEXT)] | Annotated[Recipe, Tag(OTHER)], Discriminator(_either)
        ]
    ] = Field(
        None, description="What it runs in: a dtype or a quantization recipe. Absent: as stored."
    )
    config: dict[str, Any] = Field(
        default={}, description="The component's own settings; each kind documents its keys."
    )
    emits: Maybe[Space] = Field(
        None,
        description="The embedding space its output was trained into, as component.space.",
        examples=["decoder.embed"],
    )
    adapters: dict[Name, LoraAdapter] = Field(
        default={}, description="Adapters by name; a node switches them on in `with`."
    )


class SplitModel(Strict):
    """Cut a long input into pieces, each of which is run by itself."""

    seconds: int = Field(ge=1, le=3600, description="The length of every piece but the last.")
    join: str = Field(" ", max_length=16, description="What stands between two pieces' texts.")


class InputModel(Strict):
    """What a task takes from whoever runs it."""

    type: InputType = Field(description="What kind of value this is.")
    default: Any = Field(
        None, description="The value when none is given: text, or a list of integers for ids, mask."
    )
    port: Maybe[Annotated[str, Field(max_length=200)]] = Field(
        None,
        description="For a tensor: its dtype, then its dims by name, number or `_`.",
        examples=["f32 M F"],
    )
    split: Maybe[SplitModel] = Field(
        None,
        description="For audio: cut what is longer into pieces and run the task on each.",
        examples=[{"seconds": 30}],
    )


class NodeModel(Strict):
    """One step: a component's method or an operator, and what flows into it."""

    run: str = Field(
        pattern=METHOD,
        max_length=128,
        description="A component, one of its methods as component.method, or an operator.",
        examples=["features", "decoder.generate", "scatter"],
    )
    with_: dict[str, Any] = Field(
        default={},
        alias="with",
        description="Its inputs by name. `$name` is a value of the graph, all else is literal.",
        examples=[{"embeds": "$embeds", "max_tokens": 256}],
    )


Inputs = dict[
    Name,
    Annotated[
        Annotated[InputType, Tag(TEXT)] | Annotated[InputModel, Tag(OTHER)], Discriminator(_either)
    ],
]
Graph = Annotated[dict[Name, NodeModel], Field(min_length=1)]
Outputs = Annotated[dict[Name, Reference], Field(min_length=1)]

INPUTS = "What it takes, by name: a type, or a mapping with type and default."
GRAPH = "The steps by name, each below the steps whose values it uses."
OUTPUTS = "What it gives, by name: each a `$value` of the graph."


class TaskModel(Strict):
    """One thing the bundle can do with its components."""

    summary: Maybe[Line] = Field(None, description="What the task does, in one line.")
    inputs: Inputs = Field(default={}, description=INPUTS)
    graph: Graph = Field(description=GRAPH)
    outputs: Outputs = Field(description=OUTPUTS)


class BundleModel(Strict):
    """A bundle: components, and the graph that wires them."""

    composer: Literal[1] = Field(description="The version of this format. Always 1 today.")
    name: str = Field(
        pattern=SLUG, max_length=64, description="The bundle's short name, such as `mega-asr`."
    )
    summary: Line = Field("", description="What the bundle is, in one line.")
    licence: Annotated[
        Annotated[Line, Tag(TEXT)] | Annotated[list[Line], Tag(OTHER)], Discriminator(_either)
    ] = Field(
        default=[],
        description="Its licence as an SPDX name, or a list when several apply.",
        examples=["Apache-2.0"],
    )
    provenance: list[Origin] = Field(
        default=[], description="Where each part comes from and how it was made."
    )
    publishes: list[HubId] = Field(
        default=[], description="The hub repositories that this bundle describes, as owner/name."
    )
    sources: dict[Name, SourceText] = Field(
        default={},
        description="Where files come from: `hf:owner/name[@revision]`, or a folder `./weights`.",
        examples=[{"repo": "hf:Reza2kn/mega-asr-mlx"}],
    )
    components: dict[Name, ComponentModel] = Field(
        description="The parts by name. A name is yours to choose; the graph uses it."
    )
    variants: dict[Name, dict[str, Any]] = Field(
        default={},
        description="Other editions by name: only what differs, as a JSON merge patch.",
        examples=[{"small": {"components": {"decoder": {"weights": "repo/small"}}}}],
    )
    tasks: Maybe[Annotated[dict[Name, TaskModel], Field(min_length=1)]] = Field(
        None, description="Several tasks by name, in place of inputs, graph and outputs below."
    )
    inputs: Inputs = Field(default={}, description=INPUTS)
    graph: Maybe[Graph] = Field(None, description=GRAPH)
    outputs: Maybe[Outputs] = Field(None, description=OUTPUTS)
