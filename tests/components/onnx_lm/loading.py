"""Check and load a checkpoint as onnx.lm does."""

from dataclasses import replace

import numpy as np
import torch

from composer.components.onnx.lm import OnnxLanguageModel
from composer.core.placement import Placement
from composer.formats import Headers
from tests.components.mlx_lm.models import IDS
from tests.components.mlx_lm.models import spec as plain_spec

CONFIG = OnnxLanguageModel.Config


def spec(folder, precision=None, files=None, activations="float32"):
    component_spec = plain_spec(folder, precision, files)
    return replace(component_spec, config=CONFIG(activations=activations))


def facts_of(folder, **more):
    return OnnxLanguageModel.facts(spec(folder, **more), Headers())


def load(folder, placement=None, **more):
    component_spec = spec(folder, **more)
    placement = placement or Placement(threads=1)
    return OnnxLanguageModel.load(
        component_spec, OnnxLanguageModel.facts(component_spec, Headers()), placement
    )


def logits_of_torch(model, ids=IDS):
    with torch.no_grad():
        return model(torch.tensor(ids)[None]).logits[0].numpy()


def separate_store(found, wanted):
    """Return the largest difference, as a part of the largest number."""
    return np.abs(found - wanted).max() / np.abs(wanted).max()
