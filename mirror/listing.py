"""Describe a repository in the Hub's JSON."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import yaml

from mirror.file import File
from mirror.repository import Repository

FRONT = re.compile(r"---\n(.*?)\n---\n", re.DOTALL)


def info(name: str, repository: Repository, commit: str, *, blobs: bool) -> dict[str, Any]:
    """Describe a repository at a commit, with its files' hashes if `blobs`."""
    files = repository.files(commit)
    card = _card(files.get("README.md"))
    return {
        "_id": "0" * 24,
        "id": name,
        "modelId": name,
        "author": name.partition("/")[0],
        "sha": commit,
        "private": repository.private,
        "gated": repository.gated,
        "disabled": False,
        "downloads": 0,
        "likes": 0,
        "tags": [f"license:{card['license']}"] if isinstance(card.get("license"), str) else [],
        "cardData": card,
        "usedStorage": sum(file.size for file in files.values()),
        "siblings": [
            {"rfilename": path} | (_blob(file) if blobs else {}) for path, file in files.items()
        ],
    }


def rows(files: Mapping[str, File], folder: str, *, recursive: bool) -> list[dict[str, Any]]:
    """List a folder: all files below it, or only its direct entries."""
    start = f"{folder}/" if folder else ""
    below = {name: file for name, file in sorted(files.items()) if name.startswith(start)}
    if recursive:
        return [_row(name, file) for name, file in below.items()]
    names = sorted({name.removeprefix(start).partition("/")[0] for name in below})
    return [
        _row(path, files[path])
        if (path := start + name) in files
        else {"type": "directory", "path": path, "size": 0, "oid": "0" * 40}
        for name in names
    ]


def _row(name: str, file: File) -> dict[str, Any]:
    lfs = {"oid": file.etag, "size": file.size, "pointerSize": len(file.pointer)}
    row = {"type": "file", "path": name, "size": file.size, "oid": file.oid}
    return row | ({"lfs": lfs} if file.lfs else {})


def _blob(file: File) -> dict[str, Any]:
    lfs = {"sha256": file.etag, "size": file.size, "pointerSize": len(file.pointer)}
    return {"size": file.size, "blobId": file.oid} | ({"lfs": lfs} if file.lfs else {})


def _card(readme: File | None) -> dict[str, Any]:
    """Return a model card's metadata."""
    front = FRONT.match(b"".join(readme.read()).decode(errors="replace")) if readme else None
    card = yaml.safe_load(front[1]) if front else None
    return card if isinstance(card, dict) else {}
