"""Rows and weights for stacks of layers, and what a backend makes of them."""

import numpy as np
import pytest
import torch

from composer.core.placement import Placement
from composer.formats import Headers
from tests.models.backends import arrays, family, plain

X = np.random.default_rng(1).normal(0, 2, (23, 12)).astype(np.float32)
T = torch.tensor(X)


def draw(*shape, seed=0):
    return np.random.default_rng(seed).normal(0.1, 0.4, shape).astype(np.float32)


def run(component_spec, x=X, backend="mlx"):
    kind = family("stack", backend)
    component = kind.load(component_spec, kind.facts(component_spec, Headers()), Placement())
    return plain(component(arrays(component, x)))


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "projector"
    made.mkdir()
    return made
