"""Take uploads as huggingface_hub sends them: large files apart, then all in one commit."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from typing import Any

from mirror.answer import Answer, Refused, of_json
from mirror.file import File, is_lfs
from mirror.repository import Content, Repository
from mirror.state import State


def create(mirror: State, asked: Any) -> Answer:
    """Make an empty repository."""
    name = (
        f"{asked['organization']}/{asked['name']}" if asked.get("organization") else asked["name"]
    )
    if name in mirror.repositories:
        url = f"{mirror.url}/{name}"  # which huggingface_hub reads where it may exist
        raise Refused(409, "", "You already created this model repo", url=url)
    mirror.repositories[name] = Repository({}, private=bool(asked.get("private")))
    return of_json({"url": f"{mirror.url}/{name}", "name": name})


def modes(asked: Any) -> Answer:
    """Say which files are to be uploaded apart."""
    files = [
        {
            "path": file["path"],
            "uploadMode": "lfs" if is_lfs(file["path"], file["size"]) else "regular",
            "shouldIgnore": False,
        }
        for file in asked["files"]
    ]
    return of_json({"files": files})


def batch(mirror: State, asked: Any) -> Answer:
    """Say where each large file goes that is not here yet."""
    place = f"{mirror.store or mirror.url}/store/{mirror.secret}/upload"
    objects = [
        {"oid": one["oid"], "size": one["size"]}
        | ({} if one["oid"] in mirror.uploads
           else {"actions": {"upload": {"href": f"{place}/{one['oid']}"}}})
        for one in asked["objects"]
    ]  # fmt: skip
    return of_json({"transfer": "basic", "objects": objects})


def put(mirror: State, oid: str, data: bytes) -> Answer:
    """Keep a large file that is what its name says."""
    if hashlib.sha256(data).hexdigest() != oid:
        raise Refused(422, "", "sha256 differs")
    mirror.uploads[oid] = data
    return of_json({})


def commit(mirror: State, name: str, revision: str, lines: list[Any]) -> Answer:
    """Apply a commit to a branch."""
    repository = mirror.repositories[name]
    files: dict[str, Content] = dict(repository.files(revision))
    for line in lines:
        value = line["value"]
        match line["key"]:
            case "file":
                files[value["path"]] = File(base64.b64decode(value["content"]))
            case "lfsFile":
                files[value["path"]] = File(mirror.uploads[value["oid"]], lfs=True)
            case "deletedFile":
                files.pop(value["path"], None)
            case "deletedFolder":
                start = value["path"].rstrip("/") + "/"
                files = {path: file for path, file in files.items() if not path.startswith(start)}
    made = repository.push(files, ref=revision)
    url = f"{mirror.url}/{name}/commit/{made}"
    return of_json({"success": True, "commitOid": made, "commitUrl": url, "hookOutput": ""})


def post(mirror: State, parts: list[str], body: bytes, may: Callable[[str], None]) -> Answer:
    """Route a POST; `may` raises unless the token opens a repository."""
    match parts:
        case ["api", "validate-yaml"]:
            return of_json({"errors": [], "warnings": []})
        case ["api", "repos", "create"]:
            asked = json.loads(body)
            may(_name(asked))
            return create(mirror, asked)
        case ["api", "models", owner, name, "preupload", _]:
            may(f"{owner}/{name}")
            return modes(json.loads(body))
        case ["api", "models", owner, name, "commit", revision]:
            may(f"{owner}/{name}")
            lines = [json.loads(line) for line in body.splitlines() if line]
            return commit(mirror, f"{owner}/{name}", revision, lines)
        case [owner, name, "info", "lfs", "objects", "batch"]:
            may(f"{owner}/{name.removesuffix('.git')}")
            return batch(mirror, json.loads(body))
    raise Refused(404, "", "Sorry, we can't find the page you are looking for.")


def _name(asked: Any) -> str:
    return "/".join(filter(None, (asked.get("organization"), asked["name"])))
