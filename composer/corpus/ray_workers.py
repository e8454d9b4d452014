"""Workers on the machines of a Ray cluster: an extra, imported only where it is needed."""

from __future__ import annotations

import logging
import socket
from concurrent.futures import Future
from importlib import import_module
from typing import Any

from composer.core.errors import ComposerError, Problem
from composer.corpus.clip import CorpusClip
from composer.corpus.packages import require_package
from composer.corpus.row import Row
from composer.corpus.worker import LoadFailed, Task, WorkerEnded
from composer.corpus.worker_process import WorkerProcess

LOCAL = "local"
CONNECTING = 10.0  # seconds
SPARE = 2  # calls of an actor beside those that run clips


class WorkerHost:
    """An actor that has a worker process, so that no clip can end the actor itself.

    What the process raises is returned: Ray would wrap it.
    """

    def __init__(self, task: Task, threads: int, seconds: float) -> None:
        self.process = WorkerProcess(task, threads, seconds)

    def ready(self) -> LoadFailed | WorkerEnded | None:
        """Return once the task is loaded."""
        try:
            return self.process.ready.result()
        except (LoadFailed, WorkerEnded) as error:
            return error

    def run(self, clip: CorpusClip) -> Row | WorkerEnded:
        """Run a clip beside those that run."""
        try:
            return self.process.submit(clip).result()
        except WorkerEnded as error:
            return error


class RayWorker:
    """A worker in an actor."""

    def __init__(self, ray: Any, actor: Any) -> None:
        self._ray, self._actor = ray, actor
        self.ready: Future[None] = self._future(actor.ready.remote())

    def submit(self, clip: CorpusClip) -> Future[Row]:
        """Run a clip beside those that run."""
        return self._future(self._actor.run.remote(clip))

    def end(self) -> None:
        """End the actor, with which its process ends."""
        self._ray.kill(self._actor)

    def _future(self, reference: Any) -> Future[Any]:
        """Return a call's future: an actor that was lost, alone or with its machine, has ended."""
        found: Future[Any] = Future()

        def settle(done: Future[Any]) -> None:
            error = done.exception()
            if isinstance(error, self._ray.exceptions.RayError):
                error = WorkerEnded("its Ray actor or machine was lost", False)
            value = None if error else done.result()
            if isinstance(value, Exception):
                error = value
            if error:
                found.set_exception(error)
            else:
                found.set_result(value)

        reference.future().add_done_callback(settle)
        return found


class RayWorkers:
    """Workers on the machines of a cluster, in turns, each with its part of the processors there.

    Without a `count` there is one on each machine. Where one was lost, the next that Ray has room
    for takes its place.
    """

    def __init__(self, address: str, task: Task, count: int | None, seconds: float) -> None:
        """Connect to the cluster at an address, or start one here for `local`.

        Raise R585 without Ray, R579 where there is no cluster.
        """
        self._ray = require_package("ray", "ray", "--ray")
        self._task, self._seconds = task, seconds
        self._is_ours = not self._ray.is_initialized()
        try:
            if self._is_ours:
                self._connect(address)
        except (ConnectionError, RuntimeError, ValueError, OSError) as error:
            why = (str(error).splitlines() or [type(error).__name__])[0]
            message = f"there is no Ray cluster at '{address}': {why}"
            hint = "start one: ray start --head --include-dashboard=false; or give --ray local"
            raise ComposerError(Problem("R579", message, hint=hint)) from None
        self._nodes = [node for node in self._ray.nodes() if node["Alive"]]
        self.count = count or len(self._nodes)

    def _connect(self, address: str) -> None:
        host, colon, port = address.removeprefix("ray://").rpartition(":")
        if colon:  # Ray itself waits for an hour where nobody listens
            socket.create_connection((host.strip("[]"), int(port)), CONNECTING).close()
        settings = {"include_dashboard": False} if address == LOCAL else {}
        self._ray.init(
            address=address, log_to_driver=False, logging_level=logging.ERROR, **settings
        )

    def start(self, number: int) -> RayWorker:
        """Start an actor; one that is started once more may be on another machine."""
        place = number % len(self._nodes)
        here = len(range(place, self.count, len(self._nodes)))  # workers on this machine
        node = self._nodes[place]
        processors, gpus = node["Resources"].get("CPU", 1), node["Resources"].get("GPU", 0)
        threads = max(1, int(processors / here))
        strategies = import_module("ray.util.scheduling_strategies")
        actor = self._ray.remote(WorkerHost).options(
            num_cpus=min(threads, processors / here),
            num_gpus=min(1.0, gpus / here),
            max_concurrency=self._task.in_flight + SPARE,
            scheduling_strategy=strategies.NodeAffinitySchedulingStrategy(node["NodeID"], True),
        )
        return RayWorker(self._ray, actor.remote(self._task, threads, self._seconds))

    def close(self) -> None:
        """Leave the cluster, unless the program was in it before; one started here ends."""
        if self._is_ours:
            self._ray.shutdown()
