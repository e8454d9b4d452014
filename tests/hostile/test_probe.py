"""What crashes, hangs or eats memory when it is loaded does so in a child, and is refused.

No file is known that passes every check and still crashes a parser of today, so a plug-in stands
for the parser of tomorrow: a component that is loaded as the file that it is given says.
"""

import importlib

import pytest

from composer.core import registry
from composer.runtime import sandbox as probe
from tests.hostile.making import HEAD

PLUGIN = '''
import os, time
from pathlib import Path
from composer.core.component import Component, ComponentConfig, Facts, Spec, method
from composer.core.call_signature import CallSignature

class Fragile(Component, name="test.fragile"):
    """Load as a file says."""

    requires = frozenset({"weights"})

    class Config(ComponentConfig):
        pass

    @classmethod
    def facts(cls, spec, headers):
        headers.config(spec.weights)
        return Facts()

    @classmethod
    def load(cls, spec, facts, placement):
        match spec.weights.path.read_text():
            case '{"how": "abort"}':
                os.abort()
            case '{"how": "segfault"}':
                import ctypes
                ctypes.string_at(0)
            case '{"how": "exit"}':
                os._exit(0)
            case '{"how": "hang"}':
                time.sleep(600)
            case '{"how": "memory"}':
                held = [bytearray(1 << 26) for _ in range(1000)]
            case '{"how": "panic"}':
                raise BaseException("a panic is no Exception")
        return cls()

    @method(x="f32 N 4", returns="f32 N 4")
    def __call__(self, x):
        """Return x."""
        return x
'''
MANIFEST = (
    HEAD.replace("./", "hf:ann/fragile")
    + """components:
  part: {use: test.fragile, weights: repo/how.json}
inputs: {x: {type: tensor, port: f32 N 4}}
graph:
  y: {run: part, with: {x: $x}}
outputs: {y: $y}
"""
)


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """Install a component for this process and for the child."""
    place = tmp_path / "plugins"
    info = place / "fragile-1.dist-info"
    info.mkdir(parents=True)
    (place / "fragile.py").write_text(PLUGIN)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: fragile\nVersion: 1\n")
    entry = "[composer.components]\ntest.fragile = fragile:Fragile\n"
    (info / "entry_points.txt").write_text(entry)
    monkeypatch.syspath_prepend(place)
    monkeypatch.setenv("PYTHONPATH", str(place))
    registry.register_component(importlib.import_module("fragile").Fragile)
    yield
    registry.unregister_component("test.fragile")


@pytest.fixture
def loading(plugin, hub, cli, tmp_path, monkeypatch):
    import numpy as np

    monkeypatch.setattr(probe, "load_limits", lambda *_: (2 * 10**9, 20.0))
    np.save(tmp_path / "x.npy", np.ones((1, 4), np.float32))

    def call(how):
        hub({"ann/fragile": {"how.json": f'{{"how": "{how}"}}'.encode()}})
        bundle = tmp_path / "bundle"
        bundle.mkdir()
        (bundle / "bundle.yaml").write_text(MANIFEST)
        return cli("run", bundle, "-i", f"x={tmp_path / 'x.npy'}")

    return call


def test_what_loads_is_loaded(loading):
    assert loading("well")[0] == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "messages"),
    [
        ("abort", "S454 part (test.fragile) crashed while repo/how.json was loaded (signal 6)"),
        ("segfault", "S454 part (test.fragile) crashed while repo/how.json was loaded (signal 11)"),
        ("exit", "S454 part (test.fragile) crashed while repo/how.json was loaded (status 0)"),
        ("panic", "S454 part (test.fragile) crashed while repo/how.json was loaded"),
        ("hang", "S455 part (test.fragile) took longer than 20 s"),
        ("memory", "S455 part (test.fragile) needs more than 2 GB of memory"),
    ],
)
def test_what_does_not_is_refused(loading, how, messages):
    code, out, err = loading(how)
    assert (code, out) == (3, "")
    assert messages in err
    assert "Traceback" not in err
