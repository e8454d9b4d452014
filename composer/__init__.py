"""Run bundles: manifests that wire model components of several backends into one graph."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from composer.audio import Audio, read_audio
    from composer.bundle import Bundle, load
    from composer.checker import Report, check
    from composer.component import (
        Bound,
        Component,
        ComponentConfig,
        Facts,
        Signature,
        Spec,
        Token,
        method,
    )
    from composer.errors import ComposerError, Place, Problem
    from composer.location import Location
    from composer.placement import Placement
    from composer.profile import Profile, read_profile
    from composer.run import Result
    from composer.stream import Stream

_HOMES = {
    "audio": ("Audio", "read_audio"),
    "bundle": ("Bundle", "load"),
    "checker": ("Report", "check"),
    "component": (
        "Bound",
        "Component",
        "ComponentConfig",
        "Facts",
        "Signature",
        "Spec",
        "Token",
        "method",
    ),
    "errors": ("ComposerError", "Place", "Problem"),
    "location": ("Location",),
    "placement": ("Placement",),
    "profile": ("Profile", "read_profile"),
    "run": ("Result",),
    "stream": ("Stream",),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "Audio",
    "Bound",
    "Bundle",
    "Component",
    "ComponentConfig",
    "ComposerError",
    "Facts",
    "Location",
    "Place",
    "Placement",
    "Problem",
    "Profile",
    "Report",
    "Result",
    "Signature",
    "Spec",
    "Stream",
    "Token",
    "check",
    "load",
    "method",
    "read_audio",
    "read_profile",
]


def __getattr__(name: str) -> Any:
    # A name is imported when it is first used, so that `composer --help` stays quick.
    if name == "registry":
        return import_module("composer.registry")
    if name not in _HOME:
        raise AttributeError(f"module 'composer' has no attribute '{name}'")
    return getattr(import_module(f"composer.{_HOME[name]}"), name)
