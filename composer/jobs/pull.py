"""Download what a bundle needs from the Hub."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from composer.graph.files import required_files
from composer.jobs.bundle import AnyBundle, open_bundle
from composer.runtime.bundle import Bundle
from composer.runtime.loading import require_local_files
from composer.runtime.sandbox import remember_loaded
from composer.sources.hub import RequiredFile, is_downloaded


@dataclass(frozen=True)
class PullResult:
    """The files of the Hub that a bundle reads, and those of them that were not here before."""

    bundle: str
    files: tuple[RequiredFile, ...]
    missing: tuple[RequiredFile, ...]


def pull(
    bundle: AnyBundle,
    *,
    task: str | None = None,
    dry_run: bool = False,
    trust: bool = False,
) -> PullResult:
    """Download and verify the files that a task, or every task, reads, into Hugging Face's cache.

    What is here already is verified once. With `dry_run` nothing is fetched. With `trust` the files
    are not tried in a child process before they are first loaded. Nothing is loaded here. On a
    terminal a bar shows how far the download is.

    Raise ComposerError where the bundle is refused (any code), where there is no such task (R543),
    or where the network or what it sends is the trouble (S4xx).
    """
    with open_bundle(bundle) as ready:
        names = _components(ready, task)
        require_local_files(ready.checked, names)
        files = required_files(ready.checked, names)
        missing = tuple(each for each in files if not is_downloaded(each))
        if not dry_run:
            for each in _tasks(ready, task):
                ready.fetch(each)
            files = required_files(ready.checked, names)
            if trust:
                remember_loaded(ready.checked, files)
        return PullResult(ready.name, tuple(files), missing)


def _tasks(bundle: Bundle, task: str | None) -> Sequence[str]:
    return bundle.tasks if task is None else [bundle.task(task)]


def _components(bundle: Bundle, task: str | None) -> list[str]:
    graphs = [bundle.checked.graphs[name] for name in _tasks(bundle, task)]
    return list(dict.fromkeys(name for graph in graphs for name in graph.components))
