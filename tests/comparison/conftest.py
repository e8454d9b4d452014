"""The tiny bundle that the differ is tried on."""

import pytest

from composer.core import registry
from tests.comparison.tiny import KINDS, MANIFEST


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """Write its manifest; its kinds are known as long as a module's tests run."""
    for each in KINDS:
        registry.register_component(each)
    path = tmp_path_factory.mktemp("tiny") / "bundle.yaml"
    path.write_text(MANIFEST)
    yield path
    for each in KINDS:
        registry.unregister_component(each.name)
