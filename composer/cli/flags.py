"""The flags that commands share, in groups, and what they say once they are read."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import wraps
from typing import TYPE_CHECKING, Any

import typer

from composer.cli.options import (
    Backends,
    BundleName,
    ChannelOf,
    Device,
    InFlight,
    Inputs,
    Keys,
    Language,
    LockFile,
    Partial,
    Precisions,
    ProfileFile,
    Providers,
    Settings,
    Sources,
    Task,
    Threads,
    Trust,
    Variant,
    placement_value,
    source_folders,
    split_pairs,
    with_language,
)
from composer.cli.printing import show_hub_status

if TYPE_CHECKING:
    from composer.graph.graph import Graph
    from composer.runtime.bundle import Bundle
    from composer.runtime.opening import BundleOptions
    from composer.runtime.profile import Profile

DTYPES = ("float32", "float16", "bfloat16")


@dataclass(frozen=True)
class BundleFlags:
    """The flags that name a bundle and say where it runs, as they are typed."""

    name: BundleName
    variant: Variant = None
    source: Sources = None
    profile: ProfileFile = None
    threads: Threads = None
    provider: Providers = None
    device: Device = None
    place: Keys = None
    backend: Backends = None
    precision: Precisions = None
    trust: Trust = False
    lock: LockFile = None

    def title(self) -> str:
        """Return the bundle's own name, or what it was called where that cannot be read."""
        from composer.core.errors import ComposerError
        from composer.manifest import read_manifest
        from composer.sources.resolve import find_bundle

        try:
            found = find_bundle(self.name, self.lock)
            return read_manifest(found.path, self.variant or found.variant).name
        except ComposerError:
            return self.name

    def options(self) -> BundleOptions:
        """Return what the flags say, read and checked."""
        from composer.runtime.opening import BundleOptions

        return BundleOptions(
            self.name,
            self.variant,
            self._profile(),
            source_folders(self.source),
            self._precision(),
            self._backends(),
            self.trust,
            self.lock,
        )

    def open(self) -> Bundle:
        """Check the bundle and place its components, none of which is loaded yet."""
        options = self.options()
        with show_hub_status(self.name):
            return options.open()

    def _backends(self) -> dict[str, str]:
        from composer.checker.backend_choice import ALL
        from composer.core import registry

        given = [text if "=" in text else f"{ALL}={text}" for text in self.backend or ()]
        found = split_pairs(given, "--backend", "[COMPONENT=]NAME")
        for name in found.values():
            if name not in registry.backend_names():
                known = ", ".join(registry.backend_names())
                raise typer.BadParameter(f"--backend takes {known}, not '{name}'")
        return found

    def _precision(self) -> dict[str, str]:
        return parse_precisions(self.precision, "--precision")

    def _profile(self) -> Profile:
        """Return the profile of the file, over which the command's own options go."""
        from composer.runtime.profile import Profile, read_placement, read_profile

        profile = read_profile(self.profile) if self.profile else Profile()
        own = {"threads": self.threads, "providers": self.provider, "device": self.device}
        given: dict[str, Any] = {name: value for name, value in own.items() if value is not None}
        for name, text in split_pairs(self.place, "--place", "KEY=VALUE").items():
            given[name] = placement_value(text)
        try:
            placement = read_placement(given)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from None
        parts = {name: placement.only(p.given).over(p) for name, p in profile.components.items()}
        return replace(profile, default=placement.over(profile.default), components=parts)


def parse_precisions(given: list[str] | None, flag: str) -> dict[str, str]:
    """Return what components are asked to run in, by name; refuse what says nothing."""
    from composer.manifest.precision_request import read_precision

    found = split_pairs(given, flag, "COMPONENT=RECIPE, =DTYPE or =RECIPE,DTYPE")
    for text in found.values():
        try:
            read_precision(text)
        except ValueError as error:
            raise typer.BadParameter(f"{flag}: {error}") from None
    return found


def require_dtype(dtype: str, flag: str) -> str:
    """Return a dtype that components can run in; refuse any other."""
    if dtype not in DTYPES:
        raise typer.BadParameter(f"{flag} takes {', '.join(DTYPES)}, not '{dtype}'")
    return dtype


@dataclass(frozen=True)
class TaskFlags:
    """The flags that choose a task and say what it is given, as they are typed."""

    input: Inputs = None
    task: Task = None
    set: Settings = None

    def read(self, graph: Graph) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
        """Return the inputs and the options of the task, as their types say."""
        from composer.cli.values import parse_inputs, parse_options

        return parse_inputs(graph, self.input), parse_options(graph, self.set)


@dataclass(frozen=True)
class SpeechFlags(TaskFlags):
    """The flags of a command that runs a speech task on clips."""

    language: Language = None
    channel: ChannelOf = None
    partial: Partial = False
    jobs: InFlight = 8

    def read(self, graph: Graph) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
        """Return the inputs, the language among them, and the options of the task."""
        from composer.cli.values import parse_inputs, parse_options

        given = with_language(graph, self.input, self.language)
        return parse_inputs(graph, given), parse_options(graph, self.set)


GROUPS = (BundleFlags, TaskFlags, SpeechFlags)


def with_flags(*without: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Let a command take groups of flags: a parameter that is a group stands for all its flags.

    Of `BundleFlags` BUNDLE is where the parameter is, and its options are the last. `without` names
    the flags that the command would not read.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        groups: dict[str, tuple[Any, list[str]]] = {}
        parameters: list[inspect.Parameter] = []
        last: list[inspect.Parameter] = []
        for each in inspect.signature(command, eval_str=True).parameters.values():
            if each.annotation not in GROUPS:
                parameters.append(each)
                continue
            fields = inspect.signature(each.annotation, eval_str=True).parameters.values()
            flags = [flag for flag in fields if flag.name not in without]
            groups[each.name] = (each.annotation, [flag.name for flag in flags])
            if each.annotation is BundleFlags:
                last += flags[1:]
                flags = flags[:1]
            parameters += flags
        parameters += last

        @wraps(command)
        def run(**given: Any) -> None:
            made = {}
            for name, (group, flags) in groups.items():
                made[name] = group(**{flag: given.pop(flag) for flag in flags})
            command(**made, **given)

        run.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
            [each.replace(kind=each.KEYWORD_ONLY) for each in parameters]
        )
        run.__annotations__ = {each.name: each.annotation for each in parameters}
        return run

    return decorate
