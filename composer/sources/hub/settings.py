"""Read the Hub's address and cache folders from the environment variables of its tools."""

from __future__ import annotations

import os
from pathlib import Path

TRUE = {"1", "ON", "YES", "TRUE"}
NAME = "composer"


def endpoint() -> str:
    """Return the Hub's address: HF_ENDPOINT, or the public one."""
    return os.environ.get("HF_ENDPOINT", "").rstrip("/") or "https://huggingface.co"


def is_offline() -> bool:
    """Return whether HF_HUB_OFFLINE forbids the network."""
    value = os.environ.get("HF_HUB_OFFLINE") or os.environ.get("TRANSFORMERS_OFFLINE") or ""
    return value.upper() in TRUE


def forbids_token() -> bool:
    """Return whether HF_HUB_DISABLE_IMPLICIT_TOKEN forbids sending a stored token."""
    return os.environ.get("HF_HUB_DISABLE_IMPLICIT_TOKEN", "").upper() in TRUE


def hides_progress() -> bool:
    """Return whether HF_HUB_DISABLE_PROGRESS_BARS is set."""
    return os.environ.get("HF_HUB_DISABLE_PROGRESS_BARS", "").upper() in TRUE


def cache_folder() -> Path:
    """Return the folder of the Hugging Face cache, shared with other tools."""
    return _path("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE") or _home() / "hub"


def notes_folder() -> Path:
    """Return composer's own cache folder: listings, headers, records of verified files."""
    return (_path("HF_ASSETS_CACHE", "HUGGINGFACE_ASSETS_CACHE") or _home() / "assets") / NAME


def prepared_folder() -> Path:
    """Return the folder of weights that were prepared for this machine from locked bundles."""
    return notes_folder() / "prepared"


def folder_name(repo: str) -> str:
    """Return the name of a repository's folder in the cache."""
    return f"models--{repo.replace('/', '--')}"


def _home() -> Path:
    return _path("HF_HOME") or (_path("XDG_CACHE_HOME") or Path.home() / ".cache") / "huggingface"


def _path(*names: str) -> Path | None:
    value = next(filter(None, map(os.environ.get, names)), None)
    return Path(os.path.expandvars(os.path.expanduser(value))).absolute() if value else None
