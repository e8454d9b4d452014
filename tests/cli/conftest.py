import io
import re
import sys
import wave

import numpy as np
import pytest

from composer.cli import main
from tests.fakes import write as write_bundle

COLOUR = re.compile(r"\x1b\[[\d;]*m")


@pytest.fixture
def cli(capsys, monkeypatch):
    """Run a command in this process; return its exit code, stdout and stderr."""
    monkeypatch.setenv("COLUMNS", "100")

    def call(*arguments):
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


@pytest.fixture
def piped(cli, monkeypatch):
    """Chat with lines on standard input; return its exit code, stdout and stderr."""

    def call(bundle, lines, *arguments):
        data = lines if isinstance(lines, bytes) else lines.encode()
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data), "utf-8"))
        return cli("chat", bundle, *arguments)

    return call


@pytest.fixture
def bundle(tmp_path):
    """Write the bundle of the fakes."""
    return write_bundle(tmp_path)


@pytest.fixture
def clip(tmp_path):
    """Write a short WAV file of a given number of frames at 8 kHz."""

    def write(name="clip.wav", frames=8):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with wave.open(str(path), "wb") as file:
            file.setparams((1, 2, 8000, frames, "NONE", ""))
            file.writeframes((np.arange(1, frames + 1, dtype="<i2") * 100).tobytes())
        return path

    return write


@pytest.fixture
def terminal(cli, monkeypatch):
    """Run a command on a terminal of so many columns; return its exit code, stdout and stderr."""

    def call(columns, *arguments):
        monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
        monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
        monkeypatch.setenv("COLUMNS", str(columns))
        return cli(*arguments)

    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    return call
