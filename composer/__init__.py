"""Run bundles: manifests that wire model components of several backends into one graph."""

from composer.core.safe_path import leave_working_folder

leave_working_folder("composer")  # before any import that a module there could stand in for

from composer.core.telemetry import disable_library_telemetry  # noqa: E402

disable_library_telemetry()  # before any import of a library that reports its users

from functools import cache  # noqa: E402
from importlib import import_module  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import TYPE_CHECKING, Any  # noqa: E402

if TYPE_CHECKING:  # every public name, once: what is below reads its module from here
    from composer.benchmarking.measure import RunCounts as RunCounts
    from composer.checker import check as check
    from composer.comparison.compare import Comparison as Comparison
    from composer.comparison.dump import Dump as Dump
    from composer.comparison.dump import read_dump as read_dump
    from composer.core.call_signature import CallSignature as CallSignature
    from composer.core.component import Bound as Bound
    from composer.core.component import Component as Component
    from composer.core.component import ComponentConfig as ComponentConfig
    from composer.core.component import Facts as Facts
    from composer.core.component import Spec as Spec
    from composer.core.component import Token as Token
    from composer.core.component import method as method
    from composer.core.errors import ComposerError as ComposerError
    from composer.core.errors import Place as Place
    from composer.core.errors import Problem as Problem
    from composer.core.location import Location as Location
    from composer.core.placement import Placement as Placement
    from composer.corpus.account import BatchSummary as BatchSummary
    from composer.evaluation.evaluation import Evaluation as Evaluation
    from composer.evaluation.journal import Transcript as Transcript
    from composer.formats.audio.clip import Clip as Clip
    from composer.formats.audio.reading import read_audio as read_audio
    from composer.formats.audio.waveform import Audio as Audio
    from composer.formats.image.picture import Picture as Picture
    from composer.formats.image.reading import read_picture as read_picture
    from composer.graph.checked import CheckResult as CheckResult
    from composer.jobs.align import Alignment as Alignment
    from composer.jobs.align import align as align
    from composer.jobs.batch import batch as batch
    from composer.jobs.benchmark import Benchmark as Benchmark
    from composer.jobs.benchmark import benchmark as benchmark
    from composer.jobs.budget import Budget as Budget
    from composer.jobs.budget import budget as budget
    from composer.jobs.calibration import Calibration as Calibration
    from composer.jobs.catalogue import Catalogue as Catalogue
    from composer.jobs.catalogue import catalogue as catalogue
    from composer.jobs.compare import compare as compare
    from composer.jobs.converse import Conversation as Conversation
    from composer.jobs.converse import Reply as Reply
    from composer.jobs.converse import converse as converse
    from composer.jobs.create import create as create
    from composer.jobs.cut_short import CutShort as CutShort
    from composer.jobs.diagnose import DoctorLine as DoctorLine
    from composer.jobs.diagnose import diagnose as diagnose
    from composer.jobs.evaluate import evaluate as evaluate
    from composer.jobs.explain import explain as explain
    from composer.jobs.licences import Licences as Licences
    from composer.jobs.licences import licences as licences
    from composer.jobs.lock import LockResult as LockResult
    from composer.jobs.lock import lock as lock
    from composer.jobs.lock import verify as verify
    from composer.jobs.progress import JobProgress as JobProgress
    from composer.jobs.publish import PublishResult as PublishResult
    from composer.jobs.publish import publish as publish
    from composer.jobs.pull import PullResult as PullResult
    from composer.jobs.pull import pull as pull
    from composer.jobs.quantize import QuantizeResult as QuantizeResult
    from composer.jobs.quantize import quantize as quantize
    from composer.jobs.record import record as record
    from composer.jobs.transcribe import transcribe as transcribe
    from composer.jobs.transcription import Transcription as Transcription
    from composer.jobs.words import Word as Word
    from composer.runtime.bundle import Bundle as Bundle
    from composer.runtime.opening import BundleOptions as BundleOptions
    from composer.runtime.opening import load as load
    from composer.runtime.profile import Profile as Profile
    from composer.runtime.profile import read_profile as read_profile
    from composer.runtime.result import Result as Result
    from composer.runtime.stream import RunStream as RunStream


@cache
def _modules() -> dict[str, str]:
    """Return the module of each public name."""
    import ast

    found: dict[str, str] = {}
    for node in ast.walk(ast.parse(Path(__file__).read_bytes())):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {each.name: node.module for each in node.names if each.asname}
    return found


def __getattr__(name: str) -> Any:
    # A name is imported when it is first used, so that `composer --help` stays quick.
    if name == "registry":
        return import_module("composer.core.registry")
    if name == "__all__":
        return sorted(_modules())
    if name.startswith("_") or name not in _modules():
        raise AttributeError(f"module 'composer' has no attribute '{name}'")
    return getattr(import_module(_modules()[name]), name)


def __dir__() -> list[str]:
    return [*globals(), *_modules()]
