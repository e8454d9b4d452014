"""The tutorial of a new architecture is enough to write it: its files run as they stand there."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from composer.components.models.decoder import architectures

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "tutorial-model.md").read_text()
RUN = """
import sys
import composer.components.models
import pytest
composer.components.models.__path__.append(sys.argv[1])
sys.exit(pytest.main(["-q", "-p", "no:cacheprovider", "--rootdir", sys.argv[1], sys.argv[2]]))
"""


def blocks():
    """Return the page's model, whose parts follow one another, and its test."""
    found = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    return "\n\n".join(found[:-1]), found[-1]


def run(tmp_path, model, test):
    """Write both files and run the test in a process of its own."""
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "olmo2.py").write_text(model)
    (tmp_path / "test_olmo2.py").write_text(test)
    command = [sys.executable, "-c", RUN, str(tmp_path / "models"), str(tmp_path / "test_olmo2.py")]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def test_the_page_adds_what_is_not_there():
    assert "olmo2" not in architectures()
    assert re.findall(
        r"`((?:components|tests)/models/olmo2?\w*\.py|tests/\S+olmo2\.py)`", PAGE
    ) == [
        "components/models/olmo2.py",
        "tests/models/test_olmo2.py",
    ]


def test_its_model_passes_its_test_on_every_backend(tmp_path):
    ran = run(tmp_path, *blocks())
    assert "6 passed" in ran.stdout, ran.stdout[-3000:] + ran.stderr[-2000:]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("x = x + nn.rms_norm(y, f\"{at}.post_attention_layernorm\", eps)", "x = x + y"),
        ("nn.silu(gate)", "nn.gelu(gate)"),
        ("nn.rms_norm(k, f\"{at}.k_norm\", eps)", "k"),
        ("head_dim**-0.5", "1.0"),
    ],
)  # fmt: skip
def test_its_test_fails_where_its_model_is_wrong(tmp_path, right, wrong):
    model, test = blocks()
    assert right in model
    ran = run(tmp_path, model.replace(right, wrong), test)
    assert ran.returncode == 1
    assert re.search("[36] failed", ran.stdout), ran.stdout[-2000:]


def test_its_model_is_written_as_the_project_is(tmp_path):
    """Formatted and checked as every file of the tree."""
    file = ROOT / "components" / "models" / "olmo2.py"
    model, _ = blocks()
    for action in (["check"], ["format", "--check"]):
        command = [sys.executable, "-m", "ruff", *action, "--stdin-filename", str(file), "-"]
        ran = subprocess.run(command, input=model, capture_output=True, text=True, cwd=ROOT)
        assert ran.returncode == 0, ran.stdout + ran.stderr
