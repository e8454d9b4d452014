"""Run bundles: manifests that wire model components of several backends into one graph."""

from composer.core.safe_path import leave_working_folder

leave_working_folder("composer")  # before any import that a module there could stand in for

from composer.core.privacy import send_nothing  # noqa: E402

send_nothing()  # before any import of a library that reports its users

from importlib import import_module  # noqa: E402
from typing import TYPE_CHECKING, Any  # noqa: E402

if TYPE_CHECKING:
    from composer.benchmarking.measure import Turns
    from composer.checker import check
    from composer.comparison.compare import Comparison
    from composer.comparison.dump import Dump, read_dump
    from composer.core.component import (
        Bound,
        Component,
        ComponentConfig,
        Facts,
        Spec,
        Token,
        method,
    )
    from composer.core.errors import ComposerError, Place, Problem
    from composer.core.location import Location
    from composer.core.placement import Placement
    from composer.core.signature import Signature
    from composer.evaluation.evaluation import Evaluation
    from composer.evaluation.journal import Transcript
    from composer.formats.audio import Audio, Clip, read_audio
    from composer.graph.checked import Report
    from composer.jobs.benchmark import Benchmark, benchmark
    from composer.jobs.catalogue import Catalogue, catalogue
    from composer.jobs.compare import compare
    from composer.jobs.converse import Conversation, Reply, converse
    from composer.jobs.create import create
    from composer.jobs.cut_short import CutShort
    from composer.jobs.diagnose import Finding, diagnose
    from composer.jobs.evaluate import evaluate
    from composer.jobs.explain import explain
    from composer.jobs.licences import Licences, licences
    from composer.jobs.lock import Locked, lock, verify
    from composer.jobs.progress import Progress
    from composer.jobs.publish import Published, publish
    from composer.jobs.pull import Pulled, pull
    from composer.jobs.record import record
    from composer.jobs.transcribe import Transcription, transcribe
    from composer.runtime.bundle import Bundle
    from composer.runtime.opening import BundleOptions, load
    from composer.runtime.profile import Profile, read_profile
    from composer.runtime.run import Result
    from composer.runtime.stream import Stream

_HOMES = {
    "checker": ("check",),
    "comparison.compare": ("Comparison",),
    "comparison.dump": (
        "Dump",
        "read_dump",
    ),
    "core.component": (
        "Bound",
        "Component",
        "ComponentConfig",
        "Facts",
        "Spec",
        "Token",
        "method",
    ),
    "core.signature": ("Signature",),
    "core.errors": (
        "ComposerError",
        "Place",
        "Problem",
    ),
    "core.location": ("Location",),
    "core.placement": ("Placement",),
    "evaluation.evaluation": ("Evaluation",),
    "evaluation.journal": ("Transcript",),
    "formats.audio": (
        "Audio",
        "Clip",
        "read_audio",
    ),
    "graph.checked": ("Report",),
    "benchmarking.measure": ("Turns",),
    "jobs.benchmark": (
        "Benchmark",
        "benchmark",
    ),
    "jobs.catalogue": (
        "Catalogue",
        "catalogue",
    ),
    "jobs.create": ("create",),
    "jobs.diagnose": (
        "Finding",
        "diagnose",
    ),
    "jobs.explain": ("explain",),
    "jobs.licences": (
        "Licences",
        "licences",
    ),
    "jobs.lock": (
        "Locked",
        "lock",
        "verify",
    ),
    "jobs.publish": (
        "Published",
        "publish",
    ),
    "jobs.pull": (
        "Pulled",
        "pull",
    ),
    "jobs.compare": ("compare",),
    "jobs.converse": (
        "Conversation",
        "Reply",
        "converse",
    ),
    "jobs.cut_short": ("CutShort",),
    "jobs.evaluate": ("evaluate",),
    "jobs.progress": ("Progress",),
    "jobs.record": ("record",),
    "jobs.transcribe": (
        "Transcription",
        "transcribe",
    ),
    "runtime.bundle": ("Bundle",),
    "runtime.opening": (
        "BundleOptions",
        "load",
    ),
    "runtime.profile": (
        "Profile",
        "read_profile",
    ),
    "runtime.run": ("Result",),
    "runtime.stream": ("Stream",),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "Audio",
    "Benchmark",
    "Bound",
    "Bundle",
    "BundleOptions",
    "Catalogue",
    "Clip",
    "Comparison",
    "Component",
    "ComponentConfig",
    "ComposerError",
    "Conversation",
    "CutShort",
    "Dump",
    "Evaluation",
    "Facts",
    "Finding",
    "Licences",
    "Location",
    "Locked",
    "Place",
    "Placement",
    "Problem",
    "Profile",
    "Progress",
    "Published",
    "Pulled",
    "Reply",
    "Report",
    "Result",
    "Signature",
    "Spec",
    "Stream",
    "Token",
    "Transcript",
    "Transcription",
    "Turns",
    "benchmark",
    "catalogue",
    "check",
    "compare",
    "converse",
    "create",
    "diagnose",
    "evaluate",
    "explain",
    "licences",
    "load",
    "lock",
    "method",
    "publish",
    "pull",
    "read_audio",
    "read_dump",
    "read_profile",
    "record",
    "transcribe",
    "verify",
]


def __getattr__(name: str) -> Any:
    # A name is imported when it is first used, so that `composer --help` stays quick.
    if name == "registry":
        return import_module("composer.core.registry")
    if name not in _HOME:
        raise AttributeError(f"module 'composer' has no attribute '{name}'")
    return getattr(import_module(f"composer.{_HOME[name]}"), name)
