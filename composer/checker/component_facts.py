"""Describe each component of a manifest from headers, before anything is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from composer.checker.backend_choice import ALL, Candidate, candidates
from composer.checker.options import suggested_option
from composer.checker.packages import install_hint
from composer.checker.problem_places import with_manifest_place
from composer.core import registry
from composer.core.component import Adapter, Bound, Component, Facts, Spec
from composer.core.errors import ComposerError, Problem, errors_of
from composer.core.problems import Problems
from composer.core.suggest import listed, with_nearest
from composer.formats import Headers
from composer.graph.graph import ANY, CheckedComponent
from composer.manifest.recipes import PrecisionChange
from composer.manifest.validation_faults import validation_faults
from composer.sources.roots import Roots, location_of

if TYPE_CHECKING:
    from composer.manifest import ComponentEntry, Manifest

Trial = tuple[CheckedComponent | None, list[Problem]]
KEYS = ("weights", "files", "precision", "adapters")


def describe_components(
    manifest: Manifest,
    roots: Roots,
    precision: Mapping[str, PrecisionChange],
    backends: Mapping[str, str],
    headers: Headers,
) -> tuple[dict[str, CheckedComponent], list[Problem]]:
    """Find each component's class, validate its config and collect its facts, with all problems.

    `precision` overrides what the manifest says, by component; `backends` are the user's choices of
    backends, as `candidates` takes them. `headers` are those that were read before.
    """
    describer = _Describer(manifest, roots, precision, headers, backends)
    return describer.components(), describer.problems


@dataclass
class _Describer:
    manifest: Manifest
    roots: Roots
    precision: Mapping[str, PrecisionChange]
    headers: Headers
    backends: Mapping[str, str]
    problems: Problems = field(default_factory=Problems)

    def components(self) -> dict[str, CheckedComponent]:
        hint = f"components: {listed(self.manifest.components)}"
        for name in self.precision.keys() - self.manifest.components.keys():
            self.report(
                "W219", f"precision is given for '{name}', which is not a component", hint=hint
            )
        for name in self.backends.keys() - self.manifest.components.keys() - {ALL}:
            self.report(
                "W219", f"a backend is given for '{name}', which is not a component", hint=hint
            )
        components = {}
        for name, entry in self.manifest.components.items():
            checked = self.component(name, entry)
            if checked:
                components[name] = checked
        for name, checked in components.items():
            if checked.emits and not self.emits(name, checked.emits, components):
                components[name] = replace(checked, emits=ANY)
        return components

    def report(
        self, code: str, message: str, *at: str | int, key: bool = False, **more: Any
    ) -> None:
        place = self.manifest.place("components", *at, key=key)
        self.problems.add(Problem(code, message, place, **more))

    def component(self, name: str, entry: ComponentEntry) -> CheckedComponent | None:
        if name in registry.operator_names():
            self.report(
                "W213",
                f"'{name}' is an operator's name",
                name,
                key=True,
                hint="give the component another name",
            )
        found = candidates(entry.use, name, self.backends)
        if not found:
            self.unknown_kind(name, entry.use)
            return None
        warned = len(self.headers.warnings)
        checked, problems = self.trial(name, entry, found[0])
        for candidate in found[1:]:
            refused = errors_of(problems)
            if not refused:
                break
            other, others = self.trial(name, entry, candidate)
            if other and not errors_of(others):
                reason = f"{found[0].kind} refuses it: {refused[0].code} {refused[0].message}"
                checked, problems = replace(other, reason=reason), others
        self.problems += problems
        if checked:
            for warning in self.headers.warnings[warned:]:
                self.problems.append(with_manifest_place(self.manifest, checked.spec, warning))
        return checked

    def trial(self, name: str, entry: ComponentEntry, candidate: Candidate) -> Trial:
        """Return the component as this kind would run it, and the problems with that."""
        alone = replace(self, problems=Problems())
        return alone.as_kind(name, entry, candidate), alone.problems

    def as_kind(
        self, name: str, entry: ComponentEntry, candidate: Candidate
    ) -> CheckedComponent | None:
        """Validate the entry for one kind and collect its facts."""
        cls = self.kind(name, candidate.kind)
        if cls is None:
            return None
        valid = self.keys(name, entry, cls)
        config = self.config(name, entry, cls)
        if config is None or not valid:
            return CheckedComponent(cls, Spec(name, config), None, entry.emits, use=entry.use)
        adapters = {}
        for key, adapter in entry.adapters.items():
            adapters[key] = Adapter(location_of(adapter.weights, self.roots), adapter.scale)
        spec = Spec(
            name,
            config,
            weights=location_of(entry.weights, self.roots) if entry.weights else None,
            files=location_of(entry.files, self.roots) if entry.files else None,
            precision=self.precision.get(name, PrecisionChange()).applied(entry.precision),
            adapters=adapters,
        )
        self.headers.opened.clear()
        facts, opened = self.facts(cls, spec), tuple(self.headers.opened)
        return CheckedComponent(cls, spec, facts, entry.emits, opened, entry.use, candidate.reason)

    def unknown_kind(self, name: str, use: str) -> None:
        """Report a `use` without a kind, or without one for the requested backend."""
        family = registry.family_kinds(use)
        if family:
            requested = self.backends[name]
            message = f"{use} has no kind for the backend '{requested}'"
            self.report("W226", message, name, "use", hint=f"it runs on: {listed(sorted(family))}")
            return
        message, kinds = registry.unknown_kind(use)
        hint = install_hint(self.manifest, use) or f"installed: {listed(kinds)}"
        self.report("W212", message, name, "use", hint=hint)

    def kind(self, name: str, use: str) -> type[Component] | None:
        """Return the class of a kind."""
        try:
            return registry.component(use)
        except Exception as error:  # another package may fail in any way
            why = f"{type(error).__name__}: {error}"
            message = f"'{use}' is installed but cannot be imported: {why}"
            self.report("W221", message, name, "use", hint="reinstall the package that provides it")
            return None

    def keys(self, name: str, entry: ComponentEntry, cls: Any) -> bool:
        """Check the entry's keys against those that the kind of component reads."""
        valid = True
        reads = [key for key in KEYS if key in cls.requires | cls.accepts]
        for key in KEYS:
            given = getattr(entry, key)
            if key in cls.requires and not given:
                example = f"{next(iter(self.manifest.sources), 'source')}/..."
                self.report(
                    "W214",
                    f"{entry.use} needs '{key}'",
                    name,
                    key=True,
                    hint=f"add it: {key}: {example}",
                )
                valid = False
            requested = key == "precision" and name in self.precision
            if (given or requested) and key not in cls.requires | cls.accepts:
                self.report(
                    "W215",
                    f"{entry.use} does not read '{key}'",
                    name,
                    key,
                    key=True,
                    hint=f"it reads: {listed(['config', 'emits', *reads])}",
                )
                valid = False
        return valid

    def config(self, name: str, entry: ComponentEntry, cls: Any) -> Any:
        try:
            return cls.Config.model_validate(dict(entry.config))
        except ValidationError as error:
            at = ("components", name, "config")
            findings = validation_faults(error, cls.Config, at)
            for found in {(each.code, each.path): each for each in findings}.values():
                place = self.manifest.place(*found.path, key=found.key)
                hint = suggested_option(cls, str(found.path[-1])) or found.hint
                self.problems.add(Problem(found.code, found.message, place, hint=hint))
            return None

    def facts(self, cls: Any, spec: Spec) -> Facts | None:
        adapters = (adapter.weights for adapter in spec.adapters.values())
        located = filter(None, (spec.weights, spec.files, *adapters))
        headers = self.headers if all(location.path for location in located) else None
        found: list[Problem] = []
        facts: Facts | None = None
        try:
            facts = _check_facts(cls.facts(spec, headers))
            found += facts.notes
        except ComposerError as error:
            found += error.problems
        except Exception as error:
            why = f"{type(error).__name__}: {error}"
            found.append(Problem("W223", f"{cls.name} failed to describe itself: {why}"))
        self.problems += [with_manifest_place(self.manifest, spec, problem) for problem in found]
        return facts

    def emits(self, name: str, space: str, components: Mapping[str, CheckedComponent]) -> bool:
        """Return whether the embedding space that a component was trained into exists."""
        owner, _, wanted = space.partition(".")
        if owner not in self.manifest.components:
            message = f"emits '{space}': there is no component '{owner}'"
            message = with_nearest(message, owner, self.manifest.components)
            hint = f"components: {listed(self.manifest.components)}"
            self.report("W220", message, name, "emits", hint=hint)
            return False
        if owner not in components or components[owner].methods is None:
            return True
        spaces = sorted(f"{owner}.{each}" for each in components[owner].spaces)
        if space not in spaces:
            message = f"emits '{space}': {owner} has no space '{wanted}'"
            message = with_nearest(message, space, spaces)
            self.report("W220", message, name, "emits", hint=f"it has: {listed(spaces)}")
        return space in spaces


def _check_facts(facts: Any) -> Facts:
    if not isinstance(facts, Facts):
        raise TypeError(f"facts must return Facts, not {type(facts).__name__}")
    for symbol, bound in facts.dims.items():
        if not isinstance(bound, Bound):
            raise TypeError(f"dims[{symbol!r}] must be a Bound, not {type(bound).__name__}")
    return facts
