from pathlib import Path

import pytest
import torch

import composer
from tests.first_bundles.making import make

HERE = Path(__file__).parent


@pytest.fixture(scope="package")
def models(tmp_path_factory):
    """Make the models once; return their folder and torch's."""
    folder = tmp_path_factory.mktemp("first-bundles")
    with torch.no_grad():
        return folder, make(folder)


@pytest.fixture
def opened(models, tmp_path):
    """Open a bundle by its name."""
    folder, _ = models

    def load(name, change=("", "")):
        path = tmp_path / f"{name}.yaml"
        text = (HERE / f"{name}.yaml").read_text()
        assert change[0] in text
        path.write_text(text.replace(*change))
        assert composer.check(path, sources={"repo": folder}).problems == ()
        return composer.load(path, sources={"repo": folder}, trust=True)

    return load
