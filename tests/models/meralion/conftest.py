"""One small encoder for the tests that read it."""

import numpy as np
import pytest

from tests.models.backends import BACKENDS
from tests.models.meralion.reference import MELS, WINDOW, Reference, load, published


@pytest.fixture(scope="module")
def reference():
    return Reference()


@pytest.fixture(scope="module")
def mels():
    draw = np.random.default_rng(5)
    return [draw.normal(0, 0.7, (MELS, 2 * WINDOW)).astype(np.float32) for _ in range(2)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory, reference):
    return published(tmp_path_factory.mktemp("hf") / "speech", reference)


@pytest.fixture(scope="module", params=BACKENDS)
def component(folder, request):
    return load(folder, backend=request.param)
