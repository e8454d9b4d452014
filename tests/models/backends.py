"""Run a network, or a part of it, on each backend, with NumPy's arrays on both sides."""

from dataclasses import replace

import mlx.core as mx
import numpy as np

from composer.components.numpy.blocks import NumpyBlocks
from composer.components.onnx.network import OnnxNetwork
from composer.core import registry
from composer.core.placement import Placement

BACKENDS = ("mlx", "onnx", "numpy")


def family(name, backend):
    """Return a family's kind on a backend."""
    return registry.component(f"{backend}.{name}")


def arrays(component, x):
    """Return NumPy's array as the component takes it."""
    return mx.array(x) if component.backend == "mlx" else x


def plain(x):
    """Return what a component gives as NumPy's float32."""
    return np.array(x.astype(mx.float32)) if isinstance(x, mx.array) else np.asarray(x)


def apply(component, function, *inputs):
    """Run `function(blocks, *inputs)` over the weights of a component, on its backend."""
    if component.runs_on.name == "mlx":
        return plain(function(component.run.blocks(), *map(mx.array, inputs)))
    if component.runs_on.name == "numpy":
        return function(NumpyBlocks(component.run.weights), *inputs)
    network = replace(
        component.run.network,
        forward=function,
        inputs={f"x{n}": tuple(f"d{n}{axis}" for axis in range(x.ndim))
                for n, x in enumerate(inputs)},
        output=("N", "D"),
        row_numbers=frozenset(f"x{n}" for n, x in enumerate(inputs) if x.dtype == np.int64),
    )  # fmt: skip
    return OnnxNetwork(network, Placement())(*inputs)
