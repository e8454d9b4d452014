"""What a component is: facts from headers, one load, and methods decorated with their ports."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self, TypeVar

from pydantic import BaseModel, ConfigDict

from composer.core.call_signature import CallSignature, flatten_options, signature_of
from composer.core.errors import Problem
from composer.core.location import Location
from composer.core.placement import HOST, Placement
from composer.core.weight_group import WeightGroup

Method = TypeVar("Method", bound=Callable[..., Any])


class ComponentConfig(BaseModel):
    """The `config` of a component: every setting is a described field, and no other key exists."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, strict=True)


def exactly_one(*keys: str) -> dict[str, Any]:
    """Return JSON Schema's form of a rule that a model checks by itself: one of these is given."""
    given = {"not": {"type": "null"}}
    return {"oneOf": [{"required": [key], "properties": {key: given}} for key in keys]}


@dataclass(frozen=True)
class Bound:
    """A dim's value and where it was read."""

    value: int
    witness: str


def _no_faults(options: Mapping[str, Any]) -> Iterable[str]:
    return ()


@dataclass(frozen=True)
class Facts:
    """What a component knows before it is loaded.

    `dims` binds symbols of its ports for the whole component. `dtype` is what its dtype-less ports
    carry. `nbytes` is what its weights take once loaded; `mapped` is what stays in files besides,
    unless a placement loads tables. `casts` describes which weights are stored otherwise than
    they are loaded. `methods` replaces the decorated ports where they come from a file or from the
    config. `missing_reasons` says of each method and port that others of its kind have why it has
    none, and of an input why it takes nothing else. `masks` names, by port, the output or optional
    input beside it that marks which of its frames are no padding. `input_hint` says how there would
    be an input NAME. `lengthen` gives, for a symbol that is as long as what comes in, the config
    that makes it so many, None where it is
    that already. `unknown` says that
    its files are not here, so that its ports cannot be known. `embedding_adapters` are adapters
    that change the embeddings of ids. `notes` are lints. `weights` are what it has, by what they do
    and how they are packed; `packing` is the `Packing` or `FileConversion` of composer.formats for
    its recipe, where that can be written down. `option_faults` says what of a call's options, by
    name, its files contradict. `continued_alone` says why texts in flight are continued one by one,
    where they are.
    """

    dims: Mapping[str, Bound] = field(default_factory=dict)
    dtype: str = "f32"
    nbytes: int = 0
    mapped: int = 0
    casts: tuple[str, ...] = ()
    methods: Mapping[str, CallSignature] | None = None
    missing_reasons: Mapping[str, str] = field(default_factory=dict)
    masks: Mapping[str, str] = field(default_factory=dict)
    input_hint: str = ""
    lengthen: Mapping[str, Callable[[int], str | None]] = field(default_factory=dict)
    unknown: bool = False
    embedding_adapters: frozenset[str] = frozenset()
    notes: tuple[Problem, ...] = ()
    weights: tuple[WeightGroup, ...] = ()
    packing: Any = None
    continued_alone: str = ""
    option_faults: Callable[[Mapping[str, Any]], Iterable[str]] = field(
        default=_no_faults, compare=False
    )

    def require_unchanged(self) -> None:
        """Raise ComposerError if a file that these were read from has changed.

        Called once more when a component was loaded, since parsers open files by path.
        """


@dataclass(frozen=True)
class Adapter:
    """Low-rank weights that a decoder can switch on, and their scale; None is their own."""

    weights: Location
    scale: float | None = None


@dataclass(frozen=True)
class Spec:
    """One component of a manifest, resolved: names became locations, config became a model.

    Beside the manifest's `ComponentEntry`, since components are built without any manifest too.
    """

    name: str
    config: Any
    weights: Location | None = None
    files: Location | None = None
    precision: Any = None
    adapters: Mapping[str, Adapter] = field(default_factory=dict)

    @property
    def dtype(self) -> str | None:
        """Return the dtype that is asked for, alone or beside a recipe."""
        if isinstance(self.precision, str):
            return self.precision
        found: str | None = getattr(self.precision, "dtype", None)
        return found

    @property
    def recipe(self) -> Any:
        """Return the quantization recipe that is asked for, or None."""
        return None if isinstance(self.precision, str) else self.precision


class Component:
    """A part of a graph.

    `requires` and `accepts` name the keys of the manifest that it reads beside `use`, `config` and
    `emits`, and `placement_keys` the keys of a placement. `backend` names the library whose arrays
    it takes and gives.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    backend: ClassVar[str] = HOST
    requires: ClassVar[frozenset[str]] = frozenset()
    accepts: ClassVar[frozenset[str]] = frozenset()
    placement_keys: ClassVar[frozenset[str]] = frozenset()
    methods: ClassVar[Mapping[str, CallSignature]]
    Config: ClassVar[type[ComponentConfig]] = ComponentConfig

    def __init_subclass__(cls, *, name: str) -> None:
        cls.name = name
        cls.summary = (inspect.getdoc(cls) or "").partition("\n")[0]
        keys = dict.fromkeys(key for base in reversed(cls.__mro__) for key in vars(base))
        members = {key: getattr(cls, key) for key in keys}
        cls.methods = {
            key: member.__signature_of_ports__
            for key, member in members.items()
            if hasattr(member, "__signature_of_ports__")
        }

    @classmethod
    def facts(cls, spec: Spec, headers: Any) -> Facts:
        """Read what is known without a backend and without weights.

        `headers` is a `composer.formats.Headers`, None where a source of the component is not on
        this machine. Raise
        ComposerError with every problem that the headers show.
        """
        return Facts()

    @classmethod
    def validate_options(cls, method: str, options: Mapping[str, Any]) -> None:
        """Raise ComposerError where options of one call, defaults included, contradict each other.

        Each is sound by itself. Called when a bundle is checked, and when a run overrides options.
        """

    @classmethod
    def load(cls, spec: Spec, facts: Facts, placement: Placement) -> Self:
        """Load the weights once, strictly; called on the backend's own thread."""
        raise NotImplementedError

    @classmethod
    def validate_text(cls, config: Any, port: str, text: str) -> None:
        """Raise ComposerError for a text that this port cannot take.

        Called for texts that a run was given, before anything is loaded.
        """

    @classmethod
    def partial_text(cls, config: Any, texts: Mapping[str, str], done: bool) -> str:
        """Return the start of what the component makes of texts, as far as it is certain.

        One of the texts, by input, is still being decoded unless it is `done`, and whatever follows
        must not change what is returned. Nothing is certain of a component that does not say so.
        """
        return ""


def method(
    *,
    returns: str | Mapping[str, str],
    streams: bool = False,
    converts: bool = False,
    **inputs: str,
) -> Callable[[Method], Method]:
    """Give a method its ports.

    Each keyword is an input: `ids="i64 T"`. A parameter with a default is optional; a keyword-only
    one is an option, a literal checked against its annotation, or a dataclass of options, which a
    call gives one by one. `returns` is one port, or several
    by name. A method that streams yields `Token`s and returns its outputs. One that `converts` has
    one input and one output, rows in two spaces of the component.
    """

    def decorate(function: Method) -> Method:
        signature = signature_of(function, inputs, returns, streams, converts)
        taken: Any = flatten_options(function)
        taken.__signature_of_ports__ = signature
        return taken  # type: ignore[no-any-return]

    return decorate


@dataclass(frozen=True)
class Token:
    """One decoding step: the id, and the text that became certain with it (often empty).

    `piece` numbers the piece of audio that was split; `separator` is the start of the text that
    joins it to the pieces before.
    """

    id: int
    text: str
    piece: int = 0
    separator: str = ""
