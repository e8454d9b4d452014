"""A peer or composer: a process with one library and one model."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

ROOT = Path(__file__).parents[2]
OURS = "composer"


class Refused(Exception):
    """A peer that cannot fulfil a request."""


@dataclass
class Peer:
    """A process with one library and one model."""

    name: str
    python: Path
    versions: Mapping[str, str] = field(default_factory=dict)
    peak: int | None = None

    def __post_init__(self) -> None:
        driver = self.name.replace("-", "_").replace(".", "_")
        self._child = subprocess.Popen(
            [self.python, "-m", f"benchmarks.peers.drivers.{driver}"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def load(self, **request: Any) -> None:
        """Load a model."""
        self.versions = self._ask(request)["versions"]

    def run(self, **request: Any) -> list[int]:
        """Return the generated ids."""
        ids: list[int] = self._ask(request)["ids"]
        return ids

    def close(self) -> None:
        """End the process."""
        self._child.kill()
        self._child.wait()
        for pipe in (self._child.stdin, self._child.stdout):
            assert pipe
            with suppress(BrokenPipeError):
                pipe.close()

    def _ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        assert self._child.stdin
        assert self._child.stdout
        with suppress(BrokenPipeError):  # it ended, and how is told below
            self._child.stdin.write(json.dumps(request) + "\n")
            self._child.stdin.flush()
        line = self._child.stdout.readline()
        if not line:
            raise Refused(f"it ended with status {self._child.wait()}")
        answer: dict[str, Any] = json.loads(line)
        self.peak = answer["peak"]
        if "error" in answer:
            raise Refused(answer["error"])
        return answer


def python_of(name: str) -> Path | None:
    """Return the interpreter of an installed environment.

    Ours has no torch, like a user's; if it is not installed, the development environment is
    used, in which mlx-lm imports torch through transformers.
    """
    home = ROOT / ".venv/peers" / name
    if (home / "installed.txt").exists():
        return home / "bin/python"
    return ROOT / ".venv/bin/python" if name == OURS else None
