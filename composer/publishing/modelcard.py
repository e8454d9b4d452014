"""Write the card of a published bundle from its manifest and its lock."""

from __future__ import annotations

import re
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import yaml

from composer.core.units import format_bytes
from composer.graph.graph import Graph
from composer.graph_drawing.mermaid import mermaid
from composer.publishing.licences import WHOLE, manifest_statements
from composer.sources.hub import HubId
from composer.sources.lock.entries import BundleLock

if TYPE_CHECKING:
    from composer.manifest import Manifest
    from composer.publishing.lock import Editions

MARK = "<!-- written by composer publish; remove this line to keep what you change -->"
SPEECH, TALK = "automatic-speech-recognition", "text-generation"
LISTENING, SEEING = "audio-text-to-text", "image-text-to-text"
FEATURES = "feature-extraction"
SPECIAL = re.compile(r"[\\`*_\[\]<>|#]")


def model_card(editions: Editions, lock: BundleLock, id: HubId) -> str:
    """Return a README.md: summary, graph, commands, licences and files."""
    bundle = editions[None]
    manifest = bundle.manifest
    head = yaml.safe_dump(_front(manifest, bundle.graphs), sort_keys=False, allow_unicode=True)
    parts = [
        f"---\n{head}---\n{MARK}",
        f"# {_plain(manifest.name)}\n\n{_plain(manifest.summary)}".rstrip(),
        "## Run it\n\n```sh\n" + "\n".join(_commands(manifest, bundle.graphs, id)) + "\n```",
        f"## How it is wired\n\n```mermaid\n{mermaid(bundle)}\n```",
        f"## Licences\n\nAs stated by the manifest:\n\n{_licences(manifest)}",
        f"## Files\n\nHeld by `bundle.lock`; `composer verify` compares them.\n\n{_files(lock)}",
        f"Checked and locked by composer {version('bundle-composer')} (bundle-composer).",
    ]
    return "\n\n".join(parts) + "\n"


def _front(manifest: Manifest, graphs: Any) -> dict[str, Any]:
    """Return the card's metadata, by the Hub's own keys."""
    found: dict[str, Any] = {}
    if len(manifest.licence) == 1:
        found["license"] = manifest.licence[0].lower()
    elif manifest.licence:
        found |= {"license": "other", "license_name": " and ".join(manifest.licence)}
    found["library_name"] = "bundle-composer"
    kinds = list(filter(None, map(_kind, graphs.values())))
    if kinds:
        found["pipeline_tag"] = kinds[0]
    return found


def _kind(graph: Graph) -> str | None:
    """Return what the Hub calls a task of these inputs and outputs; None where it has no name."""
    types = {entry.type for entry in graph.inputs.values()}
    ports = [graph.values[name].port for name in graph.outputs.values()]
    gives = {port.kind if port else None for port in ports}
    if "text" not in gives:
        if gives <= {"tensor"} and types & {"audio", "text", "image", "images"}:
            return FEATURES
        return None
    if "audio" in types:
        takes_text = any(e.type == "text" and e.default is None for e in graph.inputs.values())
        return LISTENING if takes_text else SPEECH
    if types & {"image", "images"}:
        return SEEING
    if "text" in types:
        return TALK
    return None


def _commands(manifest: Manifest, graphs: Any, id: HubId) -> list[str]:
    lines = [f"composer check {id.repo}"]
    for name, graph in graphs.items():
        task = ""
        if len(graphs) > 1:
            task = f" --task {name}"
        needed = [key for key, entry in graph.inputs.items() if entry.default is None]
        if _kind(graph) == SPEECH and needed == [next(iter(graph.inputs))]:
            lines.append(f"composer transcribe {id.repo} clip.wav{task}")
        elif set(graph.inputs) & set(graph.outputs):
            lines.append(f"composer chat {id.repo}{task}")
        else:
            given = "".join(f" -i {key}=..." for key in needed)
            lines.append(f"composer run {id.repo}{task}{given}")
    for variant in manifest.variants:
        lines.append(f"composer run {id.repo} --variant {variant} ...")
    return lines


def _licences(manifest: Manifest) -> str:
    rows = []
    for each in manifest_statements(manifest):
        name = "the whole" if each.kind == WHOLE else _plain(each.name)
        stated = _plain("; ".join([each.licence or "not stated", *each.details]))
        rows.append(f"- {name}: {stated}")
    return "\n".join(rows)


def _files(lock: BundleLock) -> str:
    rows = ["| source | commit | files | bytes | its card states |", "|---|---|---|---|---|"]
    for text, entry in lock.model.sources.items():
        total = format_bytes(sum(file.size for file in entry.files.values()))
        commit, stated = "-", "-"
        if entry.commit:
            commit, stated = entry.commit[:12], entry.licence.get("license", "not stated")
        cells = (_plain(text), commit, len(entry.files), total, _plain(stated))
        rows.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(rows)


def _plain(text: str) -> str:
    """Escape a text for Markdown and HTML."""
    return SPECIAL.sub(r"\\\g<0>", " ".join(text.split()))
