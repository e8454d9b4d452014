"""Start and run bundles in turns, so that whatever else the machine does falls on all alike."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from composer.benchmarking.child import Case
from composer.benchmarking.process import Process, Run, Start


@dataclass(frozen=True)
class Turns:
    """How many starts and runs count, and how many of each go before and do not."""

    starts: int = 3
    runs: int = 10
    warmup: int = 1

    @property
    def total(self) -> int:
        """Return all starts and all runs after them."""
        return self.starts + self.runs + 2 * self.warmup


@dataclass(frozen=True)
class Measured:
    """The starts and runs of one bundle that count, and the seconds of audio in each run."""

    title: str
    starts: Sequence[Start]
    runs: Sequence[Run]
    audio: float = 0.0

    @property
    def outputs(self) -> Mapping[str, str]:
        """Return what the first run gave."""
        return self.starts[0].run.outputs

    @property
    def steady(self) -> bool:
        """Return whether each run gave the same."""
        others = [*(start.run for start in self.starts), *self.runs]
        return all(run.outputs == self.outputs for run in others)

    def figures(self) -> dict[str, list[float]]:
        """Return each figure's values, by name, from the start to the memory.

        Names of parts begin with what they are part of. Seconds, but `tokens/s`, `real-time factor`
        (wall time over audio, below 1 is faster than real time) and bytes of `peak`.
        """
        starts, runs = self.starts, self.runs
        found = {
            "start": [each.seconds for each in starts],
            "start python": [each.python for each in starts],
            "start check": [each.check for each in starts],
            "start load": [each.load for each in starts],
            **{
                f"start load {name}": [each.components[name] for each in starts]
                for name in starts[0].components
            },
            "start first output": [each.first for each in starts],
            "run": [each.seconds for each in runs],
            **{f"run {name}": [each.nodes[name] for each in runs] for name in runs[0].nodes},
            "run rest": [each.seconds - sum(each.nodes.values()) for each in runs],
            "first token": _all(each.first for each in runs),
            "tokens/s": _all(each.rate for each in runs),
            "real-time factor": [each.seconds / self.audio for each in runs if self.audio],
            "peak loaded": [float(each.loaded) for each in starts],
            "peak first run": [float(each.run.peak) for each in starts],
            "peak all runs": [float(runs[-1].peak)],
        }
        return {name: values for name, values in found.items() if values}


def _all(values: Iterable[float | None]) -> list[float]:
    """Return the values where each is there, and none otherwise."""
    found = list(values)
    there = [value for value in found if value is not None]
    return there if len(there) == len(found) else []


def measure(
    cases: Sequence[Case],
    turns: Turns,
    advance: Callable[[], None] = lambda: None,
) -> list[tuple[list[Start], list[Run]]]:
    """Return the starts and runs of each case that count; every second turn goes backwards.

    Each start is a process of its own. The last of each case stays for the runs.
    """
    found: list[tuple[list[Start], list[Run]]] = [([], []) for _ in cases]
    order = list(range(len(cases)))
    processes: dict[int, Process] = {}
    try:
        for turn in range(turns.warmup + turns.starts):
            for at in order[:: -1 if turn % 2 else 1]:
                if at in processes:
                    processes.pop(at).close()
                processes[at] = Process(cases[at])
                advance()
                if turn >= turns.warmup:
                    found[at][0].append(processes[at].start)
        for turn in range(turns.warmup + turns.runs):
            for at in order[:: -1 if turn % 2 else 1]:
                run = processes[at].run()
                advance()
                if turn >= turns.warmup:
                    found[at][1].append(run)
    finally:
        for each in processes.values():
            each.close()
    return found
