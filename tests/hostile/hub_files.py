"""A repository that a hostile Hub serves, and a pull from it."""

import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from tests.hostile.making import STACK

WEIGHTS = "w/model.safetensors"
BIG = np.random.default_rng(1).normal(size=(100_000, 4)).astype(np.float32)
FILES = {
    "bundle.yaml": STACK.replace("WEIGHTS", WEIGHTS).encode(),
    WEIGHTS: save({"0.weight": BIG}),
}
SIZE = len(FILES[WEIGHTS])
BUDGET = 60.0  # seconds, on a machine that does much else


def kept(home):
    """Return the files in the cache that have a name by which something would load them."""
    links = [path for path in (home / "hub").glob("models--*/snapshots/**/*") if path.is_file()]
    return {path.name: path.read_bytes() for path in links}


@pytest.fixture
def pull(cli, hub_home):
    """Pull a bundle that is refused; return the words. Nothing that is wrong is kept."""

    def call(code, name="ann/tiny", *arguments, command="pull"):
        began = time.perf_counter()
        got, out, err = cli(command, name, *arguments)
        assert time.perf_counter() - began < BUDGET
        assert got == code, out + err
        assert "Traceback" not in err
        sound = kept(hub_home).items() <= {Path(k).name: v for k, v in FILES.items()}.items()
        assert sound
        return err

    return call


def served(hub, path=WEIGHTS, *faults, **options):
    mirror = hub({"ann/tiny": FILES}, **options)
    mirror.faults[path] = list(faults)
    return mirror


STORE = {"origins": ("store",)}
BODY = {"methods": ("GET",), **STORE}
