"""Handle uploads of huggingface_hub: large files separately, then all in one commit."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from typing import Any

from mirror.answer import Answer, Refused, json_answer
from mirror.file import File, is_lfs
from mirror.repository import Content, Repository
from mirror.state import State


def create(mirror: State, request: Any) -> Answer:
    """Create an empty repository."""
    name = (
        f"{request['organization']}/{request['name']}"
        if request.get("organization")
        else request["name"]
    )
    if name in mirror.repositories:
        url = f"{mirror.url}/{name}"  # which huggingface_hub reads where it may exist
        raise Refused(409, "", "You already created this model repo", url=url)
    mirror.repositories[name] = Repository({}, private=bool(request.get("private")))
    return json_answer({"url": f"{mirror.url}/{name}", "name": name})


def upload_modes(request: Any) -> Answer:
    """Return which files to upload separately."""
    files = [
        {
            "path": file["path"],
            "uploadMode": "lfs" if is_lfs(file["path"], file["size"]) else "regular",
            "shouldIgnore": False,
        }
        for file in request["files"]
    ]
    return json_answer({"files": files})


def batch(mirror: State, request: Any) -> Answer:
    """Return the upload address of each missing large file."""
    place = f"{mirror.store or mirror.url}/store/{mirror.secret}/upload"
    objects = [
        {"oid": entry["oid"], "size": entry["size"]}
        | ({} if entry["oid"] in mirror.uploads
           else {"actions": {"upload": {"href": f"{place}/{entry['oid']}"}}})
        for entry in request["objects"]
    ]  # fmt: skip
    return json_answer({"transfer": "basic", "objects": objects})


def store(mirror: State, oid: str, data: bytes) -> Answer:
    """Store a large file if its hash is its name."""
    if hashlib.sha256(data).hexdigest() != oid:
        raise Refused(422, "", "sha256 differs")
    mirror.uploads[oid] = data
    return json_answer({})


def commit(mirror: State, name: str, revision: str, lines: list[Any]) -> Answer:
    """Apply a commit to a branch, unless that is no longer at the parent that it names."""
    repository = mirror.repositories[name]
    files: dict[str, Content] = dict(repository.files(revision))
    for line in lines:
        value = line["value"]
        match line["key"]:
            case "header":
                parent = value.get("parentCommit")
                if parent not in (None, repository.commit(revision)):
                    raise Refused(412, "", "A commit has happened since. Please refresh and retry.")
            case "file":
                files[value["path"]] = File(base64.b64decode(value["content"]))
            case "lfsFile":
                files[value["path"]] = File(mirror.uploads[value["oid"]], lfs=True)
            case "deletedFile":
                files.pop(value["path"], None)
            case "deletedFolder":
                start = value["path"].rstrip("/") + "/"
                files = {path: file for path, file in files.items() if not path.startswith(start)}
    new_commit = repository.push(files, ref=revision)
    url = f"{mirror.url}/{name}/commit/{new_commit}"
    return json_answer(
        {"success": True, "commitOid": new_commit, "commitUrl": url, "hookOutput": ""}
    )


def post(
    mirror: State, parts: list[str], body: bytes, require_access: Callable[[str], None]
) -> Answer:
    """Route a POST; `require_access` raises unless the token gives access to a repository."""
    match parts:
        case ["api", "validate-yaml"]:
            return json_answer({"errors": [], "warnings": []})
        case ["api", "repos", "create"]:
            request = json.loads(body)
            require_access(_name(request))
            return create(mirror, request)
        case ["api", "models", owner, name, "preupload", _]:
            require_access(f"{owner}/{name}")
            return upload_modes(json.loads(body))
        case ["api", "models", owner, name, "commit", revision]:
            require_access(f"{owner}/{name}")
            lines = [json.loads(line) for line in body.splitlines() if line]
            return commit(mirror, f"{owner}/{name}", revision, lines)
        case [owner, name, "info", "lfs", "objects", "batch"]:
            require_access(f"{owner}/{name.removesuffix('.git')}")
            return batch(mirror, json.loads(body))
    raise Refused(404, "", "Sorry, we can't find the page you are looking for.")


def _name(request: Any) -> str:
    return "/".join(filter(None, (request.get("organization"), request["name"])))
