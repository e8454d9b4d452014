"""Weights run in the precision that is asked for, or in the one they are stored in."""

import mlx.core as mx
import numpy as np
import pytest
import torch
from mlx.utils import tree_flatten

from composer.components.mlx.lm import MlxLanguageModel
from composer.formats import Headers
from tests.components.checkpoint_files import rename
from tests.components.mlx_lm.models import IDS, WIDTH, f32, load, save, spec, torch_model

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("precision", ["float16", "bfloat16", "float32"])
def test_precision_is_what_it_runs_in(qwen3, precision):
    model, _, folder = qwen3
    facts = MlxLanguageModel.facts(spec(folder, precision), Headers())
    lm = load(folder, precision)
    short = {"float16": "f16", "bfloat16": "bf16", "float32": "f32"}[precision]
    assert facts.dtype == short
    parameters = [value for _, value in tree_flatten(lm.model.parameters())]
    assert {str(value.dtype) for value in parameters} == {f"mlx.core.{precision}"}
    assert facts.nbytes == sum(value.nbytes for value in parameters)
    embeds = lm.embed(mx.array(IDS))
    assert str(embeds.dtype) == f"mlx.core.{precision}"
    with torch.no_grad():
        theirs = model(torch.tensor(IDS)[None]).logits[0].numpy()
    error = np.abs(f32(lm.logits(embeds)) - theirs).max() / np.abs(theirs).max()
    assert error < {"float16": 1e-2, "bfloat16": 1e-1, "float32": 2e-5}[precision]


def test_weights_keep_their_type_unless_asked(tmp_path):
    folder = save(torch_model(num_hidden_layers=1), tmp_path / "lm", torch.bfloat16)
    facts = MlxLanguageModel.facts(spec(folder), Headers())
    assert facts.dtype == "bf16"
    assert str(load(folder).embed(mx.array([3])).dtype) == "mlx.core.bfloat16"


def test_mixed_types_are_remarked_on(folder):
    rename(folder, lambda state: state.update({"model.norm.weight": torch.ones(WIDTH).bfloat16()}))
    (note,) = MlxLanguageModel.facts(spec(folder), Headers()).notes
    assert note.code == "L323"
    assert note.message.startswith("weights are stored in bf16 and f32")
    assert MlxLanguageModel.facts(spec(folder, "float32"), Headers()).notes == ()
