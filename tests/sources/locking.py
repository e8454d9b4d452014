"""Lock small bundles, in a folder and on the Hub."""

import hashlib

import pytest

from composer.cli import main
from composer.publishing.lock import make_lock
from composer.sources.resolve import find_bundle
from mirror import Repository
from tests.sources.test_probe import BUNDLE
from tests.sources.test_ranges import safetensors

WEIGHTS, SMALLER = safetensors({"a": [1000]}), safetensors({"a": [900]})
OTHER = WEIGHTS[:-1] + b"\1"
HUB = BUNDLE.replace("./", "hf:ann/tiny")
CARD = b"---\nlicense: apache-2.0\nlicense_link: https://example.org/terms\n---\n# Weighed\n"


@pytest.fixture
def cli(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")

    def call(*arguments):
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def lock(name="."):
    made = make_lock(find_bundle(name))
    made.path.write_bytes(made.bytes)
    return made


def messages(report):
    return [str(problem) for problem in report.problems]


def data_of(data):
    return {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}


@pytest.fixture
def remote(hub, hub_home, tmp_path, monkeypatch):
    """Serve the weights, and write a manifest that names them; return the repository."""
    monkeypatch.chdir(tmp_path)
    repository = Repository({"model.safetensors": WEIGHTS, "README.md": CARD})
    mirror = hub({"ann/tiny": repository})
    (tmp_path / "bundle.yaml").write_text(HUB)
    return mirror, repository
