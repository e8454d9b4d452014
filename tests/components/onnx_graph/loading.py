"""Check and load a graph as the component does."""

from pathlib import Path

import numpy as np
import pytest

from composer.components.onnx.graph import OnnxGraph
from composer.core.call_signature import CALL
from composer.core.component import Spec
from composer.core.errors import ComposerError
from composer.core.location import Location
from composer.core.placement import Placement
from composer.formats import Headers

CHUNKED = {"chunk": 5, "stride": 2}
FIXED = {"input_features": {"pad": {"fixed": 30}}}


def spec_of(path: Path, config: dict) -> Spec:
    settings = OnnxGraph.Config.model_validate(config)
    return Spec("encoder", settings, weights=Location("repo", f"onnx/{path.name}", path.parents[1]))


def facts_of(path: Path, **config):
    return OnnxGraph.facts(spec_of(path, config), Headers())


def load(path: Path, placement: Placement | None = None, **config) -> OnnxGraph:
    spec = spec_of(path, config)
    placement = placement or Placement(threads=1)
    return OnnxGraph.load(spec, OnnxGraph.facts(spec, Headers()), placement)


def ports(path: Path, **config) -> tuple[dict, dict]:
    """Return inputs and outputs as text, numbers in their places."""
    facts = facts_of(path, **config)

    def text(port):
        words = [facts.dims[d].value if d in facts.dims else d for d in port.dims]
        return " ".join(map(str, [port.dtype, *words]))

    signature = facts.methods[CALL]
    inputs = {name: " | ".join(map(text, each)) for name, each in signature.inputs.items()}
    return inputs, {name: text(port) for name, port in signature.returns.items()}


def refusal(call, *args, **kwargs) -> str:
    with pytest.raises(ComposerError) as caught:
        call(*args, **kwargs)
    return str(caught.value)


def close(found: np.ndarray, expected: np.ndarray) -> None:
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=2e-6)
