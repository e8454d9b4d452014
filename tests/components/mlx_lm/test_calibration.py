"""What is seen of a model's linear layers is what goes into those of transformers."""

import mlx.core as mx
import numpy as np
import pytest
import torch

from composer.components.mlx.calibration import WINDOW
from composer.core.calibration import Calibrated
from tests.components.mlx_lm.models import IDS, ROWS, load, save, torch_model

pytestmark = pytest.mark.usefixtures("one_thread")


def seen_by_torch(model, ids):
    """Return the rows that go into each Linear, but for the head."""
    seen, hooks = {}, []
    for path, module in model.named_modules():
        if isinstance(module, torch.nn.Linear) and path != "lm_head":

            def keep(_, given, path=path):
                seen[path] = given[0][0].numpy()

            hooks.append(module.register_forward_pre_hook(keep))
    with torch.no_grad():
        model(torch.tensor(ids)[None])
    for hook in hooks:
        hook.remove()
    return seen


def test_the_rows_are_those_of_transformers(tmp_path):
    model = torch_model()
    lm = load(save(model, tmp_path / "lm"))
    assert isinstance(lm, Calibrated)
    wanted = seen_by_torch(model, IDS)
    assert lm.input_widths() == {path: rows.shape[1] for path, rows in wanted.items()}
    found = {path: [] for path in wanted}
    before = mx.array(lm.logits(lm.embed(mx.array(IDS))))
    with lm.watch({path: rows.append for path, rows in found.items()}):
        watched = lm.logits(lm.embed(mx.array(IDS)))
    assert mx.array_equal(before, watched)
    for path, rows in wanted.items():
        (own,) = found[path]
        np.testing.assert_allclose(own, rows, atol=1e-4 * abs(rows).max())
    lm.logits(lm.embed(mx.array(IDS)))
    assert all(len(rows) == 1 for rows in found.values())


def test_an_error_ends_the_watch(tmp_path):
    lm = load(save(torch_model(), tmp_path / "lm"))
    path = "model.layers.1.mlp.down_proj"
    seen = []
    with pytest.raises(ZeroDivisionError), lm.watch({path: seen.append}):
        raise ZeroDivisionError
    lm.logits(lm.embed(mx.array(IDS)))
    assert seen == []
    assert path in lm.input_widths()


def test_a_text_is_read_a_window_at_a_time(tmp_path, monkeypatch):
    model = torch_model()
    lm = load(save(model, tmp_path / "lm"))
    ids = np.random.default_rng(1).integers(3, ROWS, WINDOW + 9).tolist()
    tokenizer = type("Tokenizer", (), {"encode": lambda self, text, special: (ids, [])})
    monkeypatch.setattr(lm, "tokenizer", tokenizer())
    path, found = "model.layers.2.self_attn.q_proj", []
    with lm.watch({path: found.append}):
        for answer in lm.texts("anything"):
            lm.read(answer)
    assert [len(rows) for rows in found] == [WINDOW, 9]
    rows = seen_by_torch(model, ids[WINDOW:])[path]
    np.testing.assert_allclose(found[1], rows, atol=1e-4 * abs(rows).max())
