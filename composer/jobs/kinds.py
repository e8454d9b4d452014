"""Describe what is installed for other programs: kinds of components, and operators."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from composer.core import registry
from composer.core.call_signature import CallSignature
from composer.core.component import Component
from composer.jobs.explain import option_text, ports_text
from composer.manifest.schema_simplify import simplify


def installed_kinds() -> list[dict[str, Any]]:
    """Return each kind's name, summary, keys, methods and the JSON Schema of its config.

    One that cannot be imported has an `error` in their place.
    """
    found = []
    for name in registry.component_names():
        try:
            kind = registry.component(name)
        except Exception as error:
            # Somebody's package is broken; the others are still worth listing.
            found.append({"name": name, "error": f"{type(error).__name__}: {error}"})
            continue
        found.append({"name": name, **_described(kind)})
    return found


def installed_operators() -> list[dict[str, Any]]:
    """Return each operator's name, summary and ports; with an `error` where it is broken."""
    found: list[dict[str, Any]] = []
    for name in registry.operator_names():
        try:
            operator = registry.operator(name)
        except Exception as error:  # as above
            found.append({"name": name, "error": f"{type(error).__name__}: {error}"})
            continue
        ports = _ports(operator.signature)
        found.append({"name": name, "summary": operator.summary, **ports})
    return found


def _described(kind: type[Component]) -> dict[str, Any]:
    backend, _, family = kind.name.partition(".")
    return {
        "family": family if backend in registry.backend_names() else kind.name,
        "summary": kind.summary,
        "backend": kind.backend,
        "requires": sorted(kind.requires),
        "accepts": sorted(kind.accepts),
        "config": simplify(kind.Config.model_json_schema(), nulls=True),
        "methods": {name: _ports(signature) for name, signature in kind.methods.items()},
    }


def _ports(signature: CallSignature) -> Mapping[str, Any]:
    inputs = {}
    for name, ports in signature.inputs.items():
        inputs[name] = {
            "port": ports_text(ports),
            "optional": name in signature.optional,
        }
    return {
        "inputs": inputs,
        "options": {name: option_text(option) for name, option in signature.options.items()},
        "outputs": {name: ports_text((port,)) for name, port in signature.returns.items()},
        "streams": signature.streams,
    }
