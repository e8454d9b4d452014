"""Hidden states, and decoders whose head is left out, against transformers and MLX."""

import numpy as np
import pytest
import torch

from composer.components.mlx.lm import MlxLanguageModel as MlxLm
from composer.components.mlx.lm import MlxLmConfig as MlxConfig
from composer.components.onnx.lm import OnnxLanguageModel as OnnxLm
from composer.components.onnx.lm.component import OnnxLmConfig as OnnxConfig
from composer.core.component import Spec
from composer.core.location import Location
from composer.core.placement import Placement
from composer.formats import Headers
from tests.components.mlx_lm.models import IDS, SCHEMES, quantized, save, torch_model

KINDS = {"mlx": (MlxLm, MlxConfig), "onnx": (OnnxLm, OnnxConfig)}
pytestmark = pytest.mark.usefixtures("one_thread")


def load(folder, kind, **config):
    cls, own = KINDS[kind]
    spec = Spec("decoder", own(**config), Location("repo", "", folder.parent) / folder.name)
    facts = cls.facts(spec, Headers())
    placement = Placement(device="cpu") if kind == "mlx" else Placement(threads=1)
    return cls.load(spec, facts, placement), facts


def hidden_of_torch(model):
    with torch.no_grad():
        return model.model(input_ids=torch.tensor(IDS)[None], use_cache=False)[0][0].numpy()


def hidden(lm, ids=IDS):
    import mlx.core as mx

    given = mx.array(ids) if isinstance(lm, MlxLm) else np.array(ids)
    return np.array(lm.hidden(lm.embed(given)))


@pytest.mark.parametrize("head", [True, False])
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_they_are_those_of_transformers(kind, tied, head, tmp_path):
    model = torch_model(tied=tied)
    lm, _ = load(save(model, tmp_path / "lm"), kind, head=head)
    want = hidden_of_torch(model)
    found = hidden(lm)
    assert found.shape == want.shape
    assert np.abs(found - want).max() <= 1e-4 * np.abs(want).max()
    with torch.no_grad():
        before = (
            model.model(input_ids=torch.tensor(IDS)[None], output_hidden_states=True)
            .hidden_states[-2][0]
            .numpy()
        )
    assert np.abs(found - before).max() > 0.1 * np.abs(want).max()  # one layer less


def test_more_rows_than_are_read_at_once(tmp_path):
    ids = (list(IDS) * 40)[:150]
    model = torch_model()
    lm, _ = load(save(model, tmp_path / "lm"), "onnx", head=False)
    with torch.no_grad():
        want = model.model(input_ids=torch.tensor(ids)[None], use_cache=False)[0][0].numpy()
    assert np.abs(hidden(lm, ids) - want).max() <= 1e-4 * np.abs(want).max()


def test_quantized_weights_without_a_head(tmp_path):
    folder = quantized(torch_model(), tmp_path / "mixed", *SCHEMES["mixed 8-4"])
    (whole, _), (bare, facts) = load(folder, "onnx"), load(folder, "onnx", head=False)
    reference, _ = load(folder, "mlx")
    want = hidden(reference)
    for lm in (whole, bare):
        assert np.abs(hidden(lm) - want).max() <= 1e-4 * np.abs(want).max()
    assert sorted(facts.methods) == ["embed", "hidden"]
    assert facts.missing_reasons["generate"] == "config.head is false, so that it has no logits"
    assert facts.notes == ()


def test_generating_afterwards_is_as_before(tmp_path):
    """Reading hidden states leaves no memory bound that a later text writes into."""
    lm, _ = load(save(torch_model(), tmp_path / "lm"), "onnx")
    rows = lm.embed(np.array(IDS))
    before, first = lm.logits(rows), hidden(lm)
    assert np.array_equal(lm.logits(rows), before)
    assert np.array_equal(hidden(lm), first)
