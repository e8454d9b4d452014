"""Define format 1 of a bundle: every key, its type and purpose; long because it is one list."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from composer.core.quantization_recipe import QuantizationRecipe
from composer.formats.quantization import Scheme
from composer.manifest.fields import (
    DOTTED,
    METHOD,
    OTHER,
    SLUG,
    TEXT,
    HubId,
    InputType,
    Inside,
    KeyPath,
    Kind,
    Line,
    LintCode,
    Maybe,
    Name,
    Output,
    PortText,
    Range,
    Reference,
    Requirement,
    SourceText,
    Space,
    Strict,
    tag_of,
)
from composer.manifest.recipe import BaseRecipe
from composer.manifest.recipes import PrecisionName, RecipeName, recipes

VERSION = 1


class Origin(Strict):
    """Where one part of the bundle comes from."""

    what: Line = Field(description="The part: a component's name, or words such as `speech LoRA`.")
    from_: Line = Field(
        alias="from", description="What it was made from: a hub ID, an address, or a paper."
    )
    how: Maybe[Line] = Field(None, description="How it was made: trained, converted, quantized.")
    licence: Maybe[Line] = Field(None, description="The licence of this part, as an SPDX name.")


class Recipe(BaseRecipe):
    """Quantize a component's projections when it is loaded."""

    recipe: Maybe[RecipeName] = Field(
        None,
        description="A recipe by its name; `rules` and `keep` are added to its own.",
        examples=["mixed-8-4", "ple-safe-4bit"],
    )

    def quantization(self) -> QuantizationRecipe:
        """Return the recipe, which may be another with rules and modules of its own."""
        if self.recipe is None:
            return super().quantization()
        if self.bits or self.group_size or self.mode:
            raise ValueError(f"{self.recipe} has bits, a group size and a mode of its own")
        base = recipes()[self.recipe].quantization
        rules = self.rules_over(Scheme(base.bits, base.group_size, base.mode))
        return replace(
            base,
            rules={**base.rules, **rules},
            keep=(*base.keep, *self.keep),
            dtype=self.dtype or base.dtype,
            added=(*self.rules, *self.keep),
        )


class LoraAdapter(Strict):
    """Low-rank weights that a decoder can switch on and off."""

    weights: Inside = Field(
        description="The adapter's file or folder: a source's name, then the path inside it.",
        examples=["repo/lora"],
    )
    scale: Maybe[Annotated[float, Field(ge=-1000, le=1000)]] = Field(
        None, description="What its update is multiplied by; default: the scale in its own config."
    )


class ComponentFields(Strict):
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
            Annotated[PrecisionName, Tag(TEXT)] | Annotated[Recipe, Tag(OTHER)],
            Discriminator(tag_of),
        ]
    ] = Field(
        None,
        description="What it runs in: a dtype, a recipe's name, or a quantization recipe. "
        "Default: as stored.",
        examples=["float16", "mixed-8-4", {"bits": 4, "rules": {"*.self_attn.*": 8}}],
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


class SplitFields(Strict):
    """Cut a long input into pieces, each of which is run by itself."""

    seconds: int = Field(ge=1, le=3600, description="The most that a piece has.")
    join: str = Field(" ", max_length=16, description="The text that joins two pieces' texts.")
    vad: Maybe[Name] = Field(
        None,
        description="The component that detects speech: pieces end in pauses, silence is not run.",
        examples=["voice"],
    )


class InputFields(Strict):
    """An input of a task."""

    type: InputType = Field(description="What kind of value this is.")
    default: Any = Field(
        None, description="The value when none is given: text, or a list of integers for ids, mask."
    )
    port: Maybe[PortText] = Field(
        None,
        description="For a tensor: its dtype, then its dims by name, number or `_`.",
        examples=["f32 M F"],
    )
    split: Maybe[SplitFields] = Field(
        None,
        description="For audio: cut what is longer into pieces and run the task on each.",
        examples=[{"seconds": 30}],
    )
    channel: Literal["mix", "left", "right", "each"] = Field(
        "mix",
        description="For audio of several channels: their mean, one of the first two, or each of "
        "them by itself.",
    )


class NodeFields(Strict):
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
    expect: dict[Output, PortText] = Field(
        default={},
        description="What its outputs must be, by name: dtype, dims and space, as far as you know.",
        examples=[{"out": "750 D"}, {"out": "f32 T 1024 @decoder.embed"}],
    )
    range_: Maybe[Range] = Field(
        None,
        alias="range",
        description="The least and the greatest number that its outputs may have; null is any.",
        examples=[[-1, 1]],
    )


Inputs = dict[
    Name,
    Annotated[
        Annotated[InputType, Tag(TEXT)] | Annotated[InputFields, Tag(OTHER)], Discriminator(tag_of)
    ],
]
Graph = Annotated[dict[Name, NodeFields], Field(min_length=1)]
Outputs = Annotated[dict[Name, Reference], Field(min_length=1)]

INPUTS = "Inputs by name: a type, or a mapping with type and default."
GRAPH = "The steps by name, each below the steps whose values it uses."
OUTPUTS = "Outputs by name: each a `$value` of the graph."


class TaskFields(Strict):
    """One thing the bundle can do with its components."""

    summary: Maybe[Line] = Field(None, description="What the task does, in one line.")
    like: Maybe[Name] = Field(
        None,
        description="A task above, of which this one is all but what its own keys change, as a "
        "JSON merge patch.",
        examples=["transcribe"],
    )
    inputs: Inputs = Field(default={}, description=INPUTS)
    graph: Graph = Field(description=GRAPH)
    outputs: Outputs = Field(description=OUTPUTS)


class BundleFields(Strict):
    """A bundle: components, and the graph that wires them."""

    composer: Literal[1] = Field(description="The version of this format. Always 1 today.")
    name: str = Field(
        pattern=SLUG, max_length=64, description="The bundle's short name, such as `mega-asr`."
    )
    summary: Line = Field("", description="What the bundle is, in one line.")
    licence: Annotated[
        Annotated[Line, Tag(TEXT)] | Annotated[list[Line], Tag(OTHER)], Discriminator(tag_of)
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
    recognises: dict[KeyPath, list[Line]] = Field(
        default={},
        description="The checkpoints without a manifest that this one is for: keys of their "
        "config.json, nested ones after a dot, or of a GGUF file's metadata, each with the values "
        "that it may have. Under `tensors`: what names of tensors begin with, all of them. Under "
        "`files`: files that are there, all of them, where there are no safetensors.",
        examples=[{"model_type": ["qwen3", "llama"]}],
    )
    sources: dict[Name, SourceText] = Field(
        default={},
        description="Where files come from: `hf:owner/name[@revision]`, or a folder `./weights`.",
        examples=[{"repo": "hf:Reza2kn/mega-asr-mlx"}],
    )
    packages: dict[Kind, Requirement] = Field(
        default={},
        description="The packages that provide kinds or operators of others; none is installed.",
        examples=[{"acme.denoise": "acme-audio>=1.2"}],
    )
    accepts: dict[LintCode, Line] = Field(
        default={},
        description="The warnings that are known and meant, by their codes, each with the reason.",
        examples=[{"L340": "the model was trained without <bos>"}],
    )
    components: dict[Name, ComponentFields] = Field(
        description="The parts by name. A name is yours to choose; the graph uses it."
    )
    variants: dict[Name, dict[str, Any]] = Field(
        default={},
        description="Other editions by name: only what differs, as a JSON merge patch.",
        examples=[{"small": {"components": {"decoder": {"weights": "repo/small"}}}}],
    )
    tasks: Maybe[Annotated[dict[Name, TaskFields], Field(min_length=1)]] = Field(
        None, description="Several tasks by name, in place of inputs, graph and outputs below."
    )
    inputs: Inputs = Field(default={}, description=INPUTS)
    graph: Maybe[Graph] = Field(None, description=GRAPH)
    outputs: Maybe[Outputs] = Field(None, description=OUTPUTS)
