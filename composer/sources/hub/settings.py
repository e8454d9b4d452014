"""Read where the Hub is and where its files are kept, from the variables that its tools read."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

TRUE = {"1", "ON", "YES", "TRUE"}
NAME = "composer"


def endpoint() -> str:
    """Return the Hub's address: HF_ENDPOINT, or the public one."""
    return os.environ.get("HF_ENDPOINT", "").rstrip("/") or "https://huggingface.co"


def offline() -> bool:
    """Tell whether HF_HUB_OFFLINE forbids the network."""
    said = os.environ.get("HF_HUB_OFFLINE") or os.environ.get("TRANSFORMERS_OFFLINE") or ""
    return said.upper() in TRUE


@contextmanager
def no_network() -> Iterator[None]:
    """Ask the Hub nothing meanwhile, as HF_HUB_OFFLINE does."""
    before = os.environ.get("HF_HUB_OFFLINE")
    os.environ["HF_HUB_OFFLINE"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["HF_HUB_OFFLINE"]
        else:
            os.environ["HF_HUB_OFFLINE"] = before


def anonymous() -> bool:
    """Tell whether HF_HUB_DISABLE_IMPLICIT_TOKEN keeps a stored token from being sent."""
    return os.environ.get("HF_HUB_DISABLE_IMPLICIT_TOKEN", "").upper() in TRUE


def quiet() -> bool:
    """Tell whether HF_HUB_DISABLE_PROGRESS_BARS asks for silence."""
    return os.environ.get("HF_HUB_DISABLE_PROGRESS_BARS", "").upper() in TRUE


def cache() -> Path:
    """Return the folder of the Hugging Face cache, which other tools fill and read too."""
    return _path("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE") or _home() / "hub"


def notes() -> Path:
    """Return the folder of what composer itself remembers: listings, headers, what was verified."""
    return (_path("HF_ASSETS_CACHE", "HUGGINGFACE_ASSETS_CACHE") or _home() / "assets") / NAME


def folder_name(repo: str) -> str:
    """Return what a repository's folder is called in the cache."""
    return f"models--{repo.replace('/', '--')}"


def _home() -> Path:
    return _path("HF_HOME") or (_path("XDG_CACHE_HOME") or Path.home() / ".cache") / "huggingface"


def _path(*names: str) -> Path | None:
    said = next(filter(None, map(os.environ.get, names)), None)
    return Path(os.path.expandvars(os.path.expanduser(said))).absolute() if said else None
