"""A task for workers that does what the id of a clip says, and notes each run in a file."""

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from composer.core.errors import ComposerError, Problem
from composer.corpus.row import Row, failed_row


@dataclass(frozen=True)
class FakeTask:
    """Runs clips by their ids; `folder` has a file for each clip, with a line for each run."""

    folder: Path
    in_flight: int = 3
    fault: str = ""

    def load(self, threads):
        print("noise of a library")  # on stdout, which is not for results
        if self.fault == "refuse":
            raise ComposerError(Problem("L301", "no such weights", hint="look again"))
        if self.fault == "no thread":
            raise RuntimeError("can't start new thread")
        if self.fault == "crash":
            self.end(signal.SIGSEGV)
        return self.run

    def runs(self, name):
        path = self.folder / name
        return len(path.read_text().split()) if path.exists() else 0

    def wait_for_another_worker(self):
        mine = str(os.getpid())
        while all(file.read_text().split()[:1] in ([], [mine]) for file in self.folder.iterdir()):
            time.sleep(0.01)

    @staticmethod
    def end(number):
        os.kill(os.getpid(), number)
        time.sleep(1000)  # another thread may get it first

    def run(self, clip):
        with (self.folder / clip.id).open("a") as file:
            file.write(f"{os.getpid()}\n")
        what, _, number = clip.id.partition("-")
        time.sleep(0.02)
        if what == "bad":
            return failed_row(clip.id, ComposerError(Problem("S482", "the file is empty")))
        if what == "crash" or (what == "once" and self.runs(clip.id) == 1):
            self.end(signal.SIGSEGV)
        if what == "meet":
            self.wait_for_another_worker()
        if what == "leave":
            os._exit(3)
        if what == "fault":
            raise ZeroDivisionError("of this program")
        if what == "killed" and self.runs(clip.id) <= int(number):
            self.end(signal.SIGKILL)
        if what == "hang":
            time.sleep(1000)
        return Row(clip.id, text=f"{what} {number}")
