"""Compare how two results were produced."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

PARTS = ("bundle", "task", "settings", "inputs", "audio", "placement")
IGNORED = ("files", "lock")  # of a bundle: its name, variant and manifest are compared
ABSENT = object()


def provenance_differences(
    want: Mapping[str, Any], have: Mapping[str, Any], there: str = "in the reference"
) -> list[str]:
    """Return a line for each setting that differs between two runs.

    A part that either does not describe, such as a reference that is not a bundle, is skipped.
    """
    lines = []
    for part in PARTS:
        if part in want and part in have:
            ours, theirs = dict(_leaves(part, have[part])), dict(_leaves(part, want[part]))
            for name in dict.fromkeys([*theirs, *ours]):
                own, other = ours.get(name, ABSENT), theirs.get(name, ABSENT)
                if own != other:
                    lines.append(f"{name}: {_shown(other)} {there}, {_shown(own)} here")
    return lines


def changed_files(want: Mapping[str, Any], have: Mapping[str, Any]) -> list[str]:
    """Return the files, the manifest among them, that two runs read and that are not the same."""
    theirs, ours = _files(want), _files(have)
    if not theirs or not ours:
        return []
    return [name for name in dict.fromkeys([*theirs, *ours]) if theirs.get(name) != ours.get(name)]


def _files(about: Mapping[str, Any]) -> dict[str, Any]:
    bundle = about.get("bundle")
    if not isinstance(bundle, Mapping) or not isinstance(bundle.get("files"), Mapping):
        return {}
    return {"the manifest": bundle.get("manifest"), **bundle["files"]}


def _leaves(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, each in value.items():
            if name != "bundle" or key not in IGNORED:
                yield from _leaves(f"{name}.{key}", each)
    else:
        yield name, value


def _shown(value: Any) -> str:
    if value is ABSENT:
        return "none"
    return ascii(value)
