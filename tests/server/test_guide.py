"""The commands of the guide, in its order, against the server that it starts."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.server.test_serve import ended, serve

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "docs" / "guides" / "serving.md"
BLOCK = re.compile(r"```(sh|json|python)\n(.*?)```", re.S)
ADDRESS = "http://127.0.0.1:8000"


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_what_the_guide_shows_is_what_happens(monkeypatch):
    monkeypatch.chdir(ROOT)
    blocks = BLOCK.findall(GUIDE.read_text())
    install, command, *rest = [body.strip() for _, body in blocks]
    assert install == "pip install 'bundle-composer[serve]'"
    kinds = [kind for kind, _ in blocks][2:]
    with serve(*shlex.split(command)[2:]) as (process, line):
        assert line.startswith("serving mega-asr-mini, elderwise-mini at http://127.0.0.1:")
        address = line.split()[-1]
        shown = ""
        for kind, body in zip(kinds, rest, strict=True):
            here = body.replace(ADDRESS, address)
            if kind == "sh":
                shown = subprocess.run(
                    ["bash", "-c", here], capture_output=True, text=True, check=True, timeout=300
                ).stdout
            elif kind == "python":
                exec(compile(here, "guide", "exec"), {})
            else:
                assert shown == body
        assert kinds.count("sh") >= 4
        assert ended(process, 15)[0] == 0
