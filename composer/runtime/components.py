"""Load a bundle's components when they are needed, and keep them."""

from __future__ import annotations

import os
import threading
from collections.abc import Collection

from composer.checker.lock_differences import check_digests
from composer.core import registry
from composer.core.component import Component
from composer.graph.checked import Checked
from composer.runtime.forks import never_free_in_forks
from composer.runtime.loading import (
    check_memory_budget,
    fetch_files,
    load_components,
    require_local_files,
    trusts_files,
    try_untrusted_files,
)
from composer.runtime.profile import Profile
from composer.runtime.worker import BackendWorker, require_same_process


class LoadedComponents:
    """The components in memory by name, and a worker for each backend.

    `checked` is the bundle as it was checked last: once more when files have come.
    """

    def __init__(self, checked: Checked, profile: Profile, trust: bool) -> None:
        self.checked = checked
        self.profile = profile
        self.trust = trust
        self.by_name: dict[str, Component] = {}
        self.load_seconds: dict[str, float] = {}
        self._workers: dict[str, BackendWorker] = {}
        self._making = threading.Lock()
        self._loading = threading.Lock()
        self._process = os.getpid()
        never_free_in_forks(self)

    @property
    def is_trusted(self) -> bool:
        """Return whether the user vouches for all files."""
        return trusts_files(self.checked, self.trust)

    def ensure_loaded(self, names: Collection[str]) -> None:
        """Load those that are not loaded yet, each backend beside the others."""
        require_same_process(self._process)
        with self._loading:
            missing = [name for name in names if name not in self.by_name]
            check_memory_budget(self.checked, names, self.profile)
            if not missing:
                return
            self._download(missing)
            try_untrusted_files(self.checked, missing, self.profile, self.trust)
            loaded = load_components(
                self.checked, missing, self.profile, self.worker, isolated=not self.is_trusted
            )
            for name, (component, seconds) in loaded.items():
                self.by_name[name] = component
                self.load_seconds[name] = seconds

    def fetch(self, names: Collection[str]) -> None:
        """Download and verify what components need and is not here."""
        require_same_process(self._process)
        require_local_files(self.checked, names)
        check_memory_budget(self.checked, names, self.profile)
        with self._loading:
            self._download(names)

    def _download(self, names: Collection[str]) -> None:
        """Download what is not here, and check all of it against the lock."""
        self.checked = fetch_files(self.checked, names)
        if self.checked.lock:
            check_digests(self.checked, names)

    def worker(self, backend: str) -> BackendWorker:
        """Return where a backend's calls happen."""
        with self._making:
            if backend not in self._workers:
                self._workers[backend] = BackendWorker(registry.backend(backend))
            return self._workers[backend]

    def close(self) -> None:
        """Let go of the weights and end the threads.

        A fork keeps them: freeing them would wait for threads that only its parent has.
        """
        if os.getpid() != self._process:
            return
        self.by_name.clear()
        for worker in self._workers.values():
            worker.close()
        self._workers.clear()
