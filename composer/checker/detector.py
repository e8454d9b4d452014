"""Check the component that an input names to detect speech."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from composer.core.call_signature import CALL, OUT, WINDOW, CallSignature
from composer.core.suggest import listed, with_nearest
from composer.graph.graph import CheckedComponent
from composer.manifest import Input, Manifest


def check_detector(
    name: str,
    entry: Input,
    manifest: Manifest,
    components: Mapping[str, CheckedComponent],
    report: Callable[..., None],
) -> None:
    """Report W233 where `split.vad` of an input names no component that detects speech."""
    detector = entry.split.vad if entry.split else None
    at = ("inputs", name, "split", "vad")
    if detector is None:
        return
    if detector not in manifest.components:
        message = with_nearest(f"'{detector}' is no component", detector, manifest.components)
        report("W233", message, *at, hint=f"components: {listed(manifest.components)}")
        return
    known = components.get(detector)
    if known and known.methods is not None and not _detects(known.methods.get(CALL)):
        message = f"{detector} ({known.cls.name}) does not detect speech"
        hint = "take audio.energy_vad, or a component with its ports"
        report("W233", message, *at, hint=hint)


def _detects(call: CallSignature | None) -> bool:
    """Return whether a call takes audio alone, and gives a score for each of equal windows."""
    if call is None or len(call.inputs) != 1 or set(call.returns) != {OUT, WINDOW}:
        return False
    (ports,) = call.inputs.values()
    scores = call.returns[OUT]
    return len(ports) == 1 and ports[0].kind == "audio" and len(scores.dims) == 1
