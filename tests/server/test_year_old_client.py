"""OpenAI's client of a year ago against the server, by the tests of today's client."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

VERSION = "2.8.1"  # November 2025
ROOT = Path(__file__).parents[2]
FILES = ("transcriptions", "streaming", "chat", "logprobs", "overload")
# It has no type for `languages`, and frames a raw form without a boundary.
NOT_ITS_OWN = ("test_json_has_the_text_of_transcribe", "test_a_bundle_that_does_not_translate")


@pytest.mark.slow
def test_the_client_of_a_year_ago(tmp_path):
    wanted = [sys.executable, "-m", "pip", "install", "-q", "--target", tmp_path]
    if subprocess.run([*wanted, f"openai=={VERSION}"], check=False).returncode:
        pytest.skip(f"openai {VERSION} cannot be installed here")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    probe = [sys.executable, "-c", "import openai; print(openai.__version__)"]
    found = subprocess.run(probe, env=environment, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == VERSION
    tests = [f"tests/server/test_{name}.py" for name in FILES]
    done = subprocess.run(
        [
            sys.executable, "-m", "pytest", "-q", *tests, "-k",
            " and ".join(f"not {name}" for name in NOT_ITS_OWN),
            "-W", "ignore:The 'warn' method is deprecated",
        ],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:]
