"""Start and run bundles in turns, so that whatever else the machine does falls on all alike."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from composer.benchmarking.benchmark_child import BenchmarkCase
from composer.benchmarking.process import BundleProcess, RunTiming, StartTiming


@dataclass(frozen=True)
class RunCounts:
    """How many starts and runs count, and how many of each go before and do not."""

    starts: int = 3
    runs: int = 10
    warmup: int = 1

    @property
    def total(self) -> int:
        """Return all starts and all runs after them."""
        return self.starts + self.runs + 2 * self.warmup


@dataclass(frozen=True)
class BundleTimings:
    """The starts and runs of one bundle that count, and the seconds of audio in each run."""

    title: str
    starts: Sequence[StartTiming]
    runs: Sequence[RunTiming]
    audio: float = 0.0

    @property
    def outputs(self) -> Mapping[str, str]:
        """Return what the first run gave."""
        return self.starts[0].run.outputs

    @property
    def steady(self) -> bool:
        """Return whether each run gave the same."""
        runs = [*(start.run for start in self.starts), *self.runs]
        return all(run.outputs == self.outputs for run in runs)

    def figures(self) -> dict[str, list[float]]:
        """Return each figure's values, by name, from the start to the memory.

        Names of parts begin with what they are part of. Seconds, but `tokens/s`, `real-time factor`
        (wall time over audio, below 1 is faster than real time) and bytes of `peak`.
        """
        found = defaultdict[str, list[float]](list)
        for start in self.starts:
            found["start"].append(start.seconds)
            found["start python"].append(start.python)
            found["start check"].append(start.check)
            found["start load"].append(start.load)
            for name, seconds in start.components.items():
                found[f"start load {name}"].append(seconds)
            found["start first output"].append(start.first)
        for run in self.runs:
            found["run"].append(run.seconds)
            for name, seconds in run.nodes.items():
                found[f"run {name}"].append(seconds)
            found["run rest"].append(run.seconds - sum(run.nodes.values()))
            if run.first is not None:
                found["first token"].append(run.first)
            if run.rate is not None:
                found["tokens/s"].append(run.rate)
            if self.audio:
                found["real-time factor"].append(run.seconds / self.audio)
        for name in ("first token", "tokens/s"):
            if len(found[name]) < len(self.runs):  # a median of some of the runs says little
                del found[name]
        for start in self.starts:
            found["peak loaded"].append(float(start.loaded))
            found["peak first run"].append(float(start.run.peak))
        found["peak all runs"].append(float(self.runs[-1].peak))
        return dict(found)


def measure(
    cases: Sequence[BenchmarkCase],
    turns: RunCounts,
    advance: Callable[[], None] = lambda: None,
) -> list[tuple[list[StartTiming], list[RunTiming]]]:
    """Return the starts and runs of each case that count; every second turn goes backwards.

    Each start is a process of its own. The last of each case stays for the runs.
    """
    found: list[tuple[list[StartTiming], list[RunTiming]]] = [([], []) for _ in cases]
    processes: dict[int, BundleProcess] = {}
    try:
        for turn in range(turns.warmup + turns.starts):
            for at in _order(turn, len(cases)):
                if at in processes:
                    processes.pop(at).close()
                processes[at] = BundleProcess(cases[at])
                advance()
                if turn >= turns.warmup:
                    found[at][0].append(processes[at].start)
        for turn in range(turns.warmup + turns.runs):
            for at in _order(turn, len(cases)):
                run = processes[at].run()
                advance()
                if turn >= turns.warmup:
                    found[at][1].append(run)
    finally:
        for each in processes.values():
            each.close()
    return found


def _order(turn: int, cases: int) -> Sequence[int]:
    """Return the order of the cases in one turn: forwards, then backwards, and so on."""
    order = range(cases)
    if turn % 2:
        return order[::-1]
    return order
