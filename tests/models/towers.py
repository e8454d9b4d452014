"""Load an encoder of a whole checkpoint on any backend, and make faulty copies of it."""

import json

import pytest
from safetensors.torch import load_file, save_file

from composer.core.component import ComponentConfig, Spec
from composer.core.errors import ComposerError
from composer.core.location import Location
from composer.core.placement import Placement
from composer.formats import Headers
from tests.models.backends import family


class Tower:
    """A family whose kinds are loaded from folders, such as `gemma4_audio`."""

    def __init__(self, name):
        self.name = name

    def spec(self, folder, precision=None):
        return Spec(self.name, ComponentConfig(), Location("repo", "", folder), precision=precision)

    def facts(self, folder, precision=None):
        return family(self.name, "mlx").facts(self.spec(folder, precision), Headers())

    def load(self, folder, precision=None, backend="mlx"):
        kind, spec = family(self.name, backend), self.spec(folder, precision)
        placement = Placement(device="cpu") if backend == "mlx" else Placement()
        return kind.load(spec, kind.facts(spec, Headers()), placement)

    def error_text(self, folder, precision=None):
        with pytest.raises(ComposerError) as caught:
            self.facts(folder, precision)
        return str(caught.value)


def copy_checkpoint(repo, folder, tensors=None, config=None):
    """Copy a checkpoint, its tensors and config as the given functions change them."""
    state = load_file(repo / "model.safetensors")
    values = json.loads((repo / "config.json").read_text())
    if tensors:
        tensors(state)
    if config:
        config(values)
    folder.mkdir(exist_ok=True)
    state = {name: value.contiguous() for name, value in state.items()}
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(values))
    return folder
