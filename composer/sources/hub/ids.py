"""The ID of a repository on the Hub: `owner/name` and an optional revision."""

from __future__ import annotations

import re
from dataclasses import dataclass

from composer.core.errors import ComposerError, Problem
from composer.formats.file_problems import show

PART = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_-])?"
REPO = re.compile(rf"(?!.*(?:--|\.\.|\.git$))({PART})/({PART})")
REVISION = re.compile(r"(?!.*(?:\.\.|//|/$))[A-Za-z0-9][A-Za-z0-9._/+-]{0,199}")
COMMIT = re.compile(r"[0-9a-f]{40}")
FILE_PART = re.compile(r"[A-Za-z0-9._-]{1,64}")
MANIFESTS = (".yaml", ".yml", ".json")


@dataclass(frozen=True)
class HubId:
    """A repository and a branch, tag or commit; None is the main branch."""

    repo: str
    revision: str | None = None

    def __str__(self) -> str:
        return f"hf:{self.repo}" + (f"@{self.revision}" if self.revision else "")


def is_id(text: str) -> bool:
    """Return whether a text is meant as a hub ID, not as a path or plain name."""
    if text.startswith("hf:"):
        return True
    repo = re.split("[@:]", text, maxsplit=1)[0]
    return bool(REPO.fullmatch(repo)) and not repo.endswith(MANIFESTS)


def parse_id(text: str) -> HubId:
    """Read `owner/name[@revision]`, with or without `hf:`; raise S414 for anything else."""
    repo, at, revision = text.removeprefix("hf:").partition("@")
    if not REPO.fullmatch(repo):
        hint = "a repository of the Hub is hf:owner/name or hf:owner/name@revision"
        raise ComposerError(Problem("S414", f"{show(text)} is not a hub ID", hint=hint))
    if at and not REVISION.fullmatch(revision):
        message = f"{show(revision)} is not a revision of hf:{repo}"
        hint = "name a branch, a tag or a commit"
        raise ComposerError(Problem("S414", message, hint=hint))
    return HubId(repo, revision or None)


def split_file_part(text: str) -> tuple[str, str]:
    """Split `owner/name[@revision][:part]` into the ID and a part of a GGUF file's name, or ''."""
    text = text.removeprefix("hf:")
    id, colon, part = text.partition(":")
    if colon and not FILE_PART.fullmatch(part):
        hint = "after the colon stands a part of a GGUF file's name: owner/name:Q8_0"
        raise ComposerError(Problem("S414", f"{show(text)} is not a hub ID", hint=hint))
    return id, part
