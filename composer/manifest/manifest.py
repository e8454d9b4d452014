"""Read a bundle's manifest into validated values."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from composer.core.errors import ComposerError, Place, Problem, in_order
from composer.core.quantization_recipe import QuantizationRecipe
from composer.core.suggest import listed, with_nearest
from composer.manifest.entries import (
    DEFAULT,
    AdapterEntry,
    ComponentEntry,
    Input,
    Node,
    Origin,
    Source,
    Split,
    Task,
)
from composer.manifest.fields import InputType
from composer.manifest.format import (
    VERSION,
    BundleFields,
    ComponentFields,
    InputFields,
    NodeFields,
    Recipe,
    TaskFields,
)
from composer.manifest.patch import merge_patch
from composer.manifest.recipes import recipes
from composer.manifest.rules import check_rules
from composer.manifest.source import Document, read_document_file
from composer.manifest.task_like import complete_tasks
from composer.manifest.validation_faults import Fault, validation_faults, wrong_type_fault
from composer.manifest.variant_faults import misspelt_components

FILES = ("bundle.yaml", "bundle.json")
MIGRATIONS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {}


@dataclass(frozen=True)
class Manifest:
    """A bundle as it is written, with `variant` applied."""

    path: Path
    name: str
    summary: str
    licence: tuple[str, ...]
    sources: Mapping[str, Source]
    components: Mapping[str, ComponentEntry]
    tasks: Mapping[str, Task]
    variants: tuple[str, ...]
    publishes: tuple[str, ...]
    recognises: Mapping[str, Sequence[str]]
    provenance: tuple[Origin, ...]
    document: Document = field(repr=False)
    packages: Mapping[str, str] = field(default_factory=dict)
    accepts: Mapping[str, str] = field(default_factory=dict)
    variant: str | None = None

    @property
    def folder(self) -> Path:
        return self.path.parent

    def place(self, *path: str | int, key: bool = False) -> Place:
        """Return the place of a value (or its key), or of its nearest ancestor."""
        return self.document.place(path, key)


def find_manifest(path: Path) -> Path:
    """Return the manifest's file, given it or its folder."""
    if not path.is_dir():
        return path
    found = [path / name for name in FILES if (path / name).exists()]
    if len(found) == 1:
        return found[0]
    fault, hint = "has no bundle.yaml", "give the manifest's file, or write one"
    if found:
        fault, hint = "has both bundle.yaml and bundle.json", "keep one of them"
    raise ComposerError(Problem("M100", f"this folder {fault}", Place(str(path)), hint=hint))


def read_document(path: Path) -> Document:
    """Read the text of a manifest or of the one in a folder, for all its variants."""
    return _migrate(read_document_file(find_manifest(path)))


def read_manifest(
    path: Path, variant: str | None = None, document: Document | None = None
) -> Manifest:
    """Read a manifest or the one in a folder; raise ComposerError with all problems.

    `document` is its text, where that is read already.
    """
    path = find_manifest(path)
    document = document or read_document(path)
    names = tuple(_variants(document))
    misspelt: list[Fault] = []
    if variant is not None:
        misspelt = misspelt_components(document.data, variant)
        document = _with_variant(document, variant)
    document, findings = complete_tasks(document)
    findings += misspelt
    findings += check_rules(document.data)
    model = None
    try:
        model = BundleFields.model_validate(document.data)
    except ValidationError as error:
        findings += validation_faults(error)
    if model is None or findings:
        raise _error(document, findings)
    return _manifest(model, path, document, names, variant)


def _error(document: Document, findings: list[Fault]) -> ComposerError:
    """Return findings as problems with places, in the order of the file, without repeats.

    What tasks share, as one that is like another one does, is at one place and reported once.
    """
    problems: dict[Any, Problem] = {}
    for f in findings:
        place = document.place(f.path, f.key)
        shared = f.path[2:] if f.path[:1] == ("tasks",) else f.path
        problem = Problem(f.code, f.message, place, hint=f.hint)
        problems.setdefault((f.code, place, shared), problem)
    return ComposerError(in_order(problems.values()))


def _migrate(document: Document) -> Document:
    """Migrate a manifest of an older format; refuse a newer one."""
    data = document.data
    version = data.get("composer", VERSION)
    if type(version) is not int:
        raise _error(document, [wrong_type_fault(("composer",), "the number 1", version)])
    while version in MIGRATIONS:
        data = MIGRATIONS[version](data)
        version = data["composer"]
    if version != VERSION:
        hint = "upgrade composer" if version > VERSION else "write `composer: 1`"
        message = f"format {version} is not supported; this version reads format {VERSION}"
        raise _error(document, [Fault("M120", message, ("composer",), hint)])
    return replace(document, data=data)


def _variants(document: Document) -> dict[str, Any]:
    variants = document.data.get("variants")
    return variants if isinstance(variants, dict) else {}


def _with_variant(document: Document, variant: str) -> Document:
    variants = _variants(document)
    if variant not in variants:
        message = with_nearest(f"there is no variant '{variant}'", variant, variants)
        hint = f"variants: {listed(variants)}"
        raise _error(document, [Fault("M132", message, ("variants",), hint, key=True)])
    patch = variants[variant]
    if not isinstance(patch, dict):
        expected = "a mapping of keys to values"
        raise _error(document, [wrong_type_fault(("variants", variant), expected, patch)])
    patch = {key: value for key, value in patch.items() if key not in ("composer", "variants")}
    span = document.spans.children["variants"].children[variant]
    data, spans = merge_patch(document.data, patch, document.spans, span)
    return Document(document.file, data, spans)


def _manifest(
    model: BundleFields, path: Path, document: Document, names: tuple[str, ...], variant: str | None
) -> Manifest:
    tasks = {}
    for name, task in (model.tasks or {}).items():
        tasks[name] = _task(name, task, ("tasks", name))
    if model.graph is not None and model.outputs is not None:
        only = TaskFields(inputs=model.inputs, graph=model.graph, outputs=model.outputs)
        tasks = {DEFAULT: _task(DEFAULT, only, ())}
    licences = [model.licence] if isinstance(model.licence, str) else model.licence
    return Manifest(
        path=path,
        name=model.name,
        summary=model.summary,
        licence=tuple(licences),
        sources={name: _source(text) for name, text in model.sources.items()},
        components={name: _component(name, c) for name, c in model.components.items()},
        tasks=tasks,
        variants=names,
        publishes=tuple(model.publishes),
        recognises=model.recognises,
        provenance=tuple(Origin(o.what, o.from_, o.how, o.licence) for o in model.provenance),
        document=document,
        packages=model.packages,
        accepts=model.accepts,
        variant=variant,
    )


def _source(text: str) -> Source:
    if text.startswith("hf:"):
        value, _, revision = text[3:].partition("@")
        return Source("hf", value, revision or None)
    return Source("folder", text.removesuffix("/"))


def _component(name: str, model: ComponentFields) -> ComponentEntry:
    return ComponentEntry(
        name=name,
        use=model.use,
        weights=model.weights,
        files=model.files,
        precision=_precision(model.precision),
        config=model.config,
        adapters={k: AdapterEntry(a.weights, a.scale) for k, a in model.adapters.items()},
        emits=model.emits,
    )


def _precision(model: str | Recipe | None) -> str | QuantizationRecipe | None:
    if isinstance(model, Recipe):
        return model.quantization()
    named = recipes().get(model or "")
    return named.quantization if named else model


def _task(name: str, model: TaskFields, at: tuple[str, ...]) -> Task:
    inputs = {key: _input(entry) for key, entry in model.inputs.items()}
    graph = {key: _node(node) for key, node in model.graph.items()}
    return Task(name, inputs, graph, model.outputs, at, model.summary or "")


def _node(model: NodeFields) -> Node:
    bounds = None
    if model.range_:
        low, high = model.range_
        bounds = (low, high)
    return Node(model.run, model.with_, model.expect, bounds)


def _input(model: InputFields | InputType) -> Input:
    """Return an input, of which the manifest may write the type alone."""
    if not isinstance(model, InputFields):
        return Input(model)
    given = model.split
    split = Split(given.seconds, given.join, given.vad) if given else None
    return Input(model.type, model.port, model.default, split, model.channel)
