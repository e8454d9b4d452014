"""Scales and biases that learn from the logits of the model that was packed."""

import mlx.core as mx
import numpy as np
import pytest
import torch

from composer.components.mlx import distillation
from composer.components.mlx.distillation import divergence
from composer.core.calibration import Answer
from composer.core.quantization_recipe import QuantizationRecipe
from composer.quantization.samples import largest_logits
from tests.components.mlx_lm.models import IDS, ROWS, load, save, torch_model

pytestmark = pytest.mark.usefixtures("one_thread")
THREE = QuantizationRecipe(3, 32)


def answers(lm, count=6, seed=0):
    """Return answers of random ids after random rows, as no table has them."""
    draw = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        rows = draw.normal(0, 0.15, (9, 64)).astype(np.float32)
        found.append(Answer(draw.integers(3, ROWS, 7), {"embeds": rows, "adapters": ()}))
    return found


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    folder = save(torch_model(), tmp_path_factory.mktemp("lm") / "lm")
    return load(folder), lambda: load(folder, THREE)


def kept(logits):
    return [largest_logits(each) for each in logits]


def far(lm, given, logits):
    total = 0.0
    for answer, wanted in zip(given, logits, strict=True):
        p, q = (torch.log_softmax(torch.from_numpy(x), -1) for x in (wanted, lm.read(answer)))
        total += torch.nn.functional.kl_div(q, p, log_target=True, reduction="sum").item()
    return total


def test_logits_of_an_answer_are_those_of_its_steps(pair):
    lm, _ = pair
    (answer,) = answers(lm, 1)
    stepped = np.array(lm.replay(mx.array(answer.inputs["embeds"]), mx.array(answer.ids)))
    np.testing.assert_allclose(lm.read(answer), stepped, atol=1e-4 * abs(stepped).max())
    text = Answer(IDS)
    whole = np.array(lm.logits(lm.embed(mx.array(IDS))))
    np.testing.assert_allclose(lm.read(text), whole, atol=1e-5 * abs(whole).max())


def test_it_learns_scales_and_biases_and_leaves_codes(pair):
    plain, packed = pair
    lm, given = packed(), answers(plain)
    logits = [plain.read(each) for each in given]
    before = far(lm, given, logits)
    paths = [path for path in plain.input_widths() if path.endswith("_proj")]
    codes = {path: module.weight for path, module in lm.model.named_modules() if path in paths}
    learnt = lm.distill(given, kept(logits), dict.fromkeys(paths, "f32"), 0)
    assert far(lm, given, logits) < 0.7 * before
    for path, module in lm.model.named_modules():
        if path in paths:
            assert mx.array_equal(codes[path], module.weight)
            assert (np.array(module.scales) == learnt[path].scales).all()
            assert (np.array(module.biases) == learnt[path].biases).all()
    again = packed().distill(given, kept(logits), dict.fromkeys(paths, "f32"), 0)
    for path in paths:
        assert (again[path].scales == learnt[path].scales).all()
    other = packed().distill(given, kept(logits), dict.fromkeys(paths, "f32"), 1)
    assert any((other[path].scales != learnt[path].scales).any() for path in paths)


def test_what_is_learnt_is_what_a_dtype_can_store(pair):
    plain, packed = pair
    given = answers(plain, 2)
    logits = [plain.read(each) for each in given]
    path = "model.layers.0.mlp.up_proj"
    found = packed().distill(given, kept(logits), {path: "bf16"}, 0)
    for values in found[path]:
        assert (torch.from_numpy(values).bfloat16().float().numpy() == values).all()
    assert list(found) == [path]


def test_nothing_is_kept_that_is_farther(pair, monkeypatch):
    plain, packed = pair
    monkeypatch.setattr(distillation, "RATE", 10.0)  # which throws everything over
    lm, given = packed(), answers(plain, 2)
    logits = [plain.read(each) for each in given]
    before = far(lm, given, logits)
    path = "model.layers.0.mlp.up_proj"
    lm.distill(given, kept(logits), {path: "f32"}, 0)
    assert far(lm, given, logits) == pytest.approx(before, rel=1e-5)


@pytest.mark.parametrize("most", [40, 39, 7, 1])
def test_the_loss_and_its_gradient_are_those_of_torch(most):
    draw = np.random.default_rng(0)
    given, own = (3 * draw.normal(size=(5, 40)).astype(np.float32) for _ in range(2))
    largest = largest_logits(given, most)
    value, gradient = mx.value_and_grad(lambda x: divergence(x, largest))(mx.array(own))
    x = torch.from_numpy(own).double().requires_grad_()
    order = torch.from_numpy(given).argsort(descending=True)

    def outcomes(logits):
        """Return the probabilities of the largest, and of all others as one."""
        shares = torch.softmax(logits, -1).gather(1, order)
        return torch.cat([shares[:, :most], shares[:, most:].sum(1, keepdim=True)], 1)

    p, q = outcomes(torch.from_numpy(given).double()), outcomes(x)
    loss = torch.special.xlogy(p, p).sum() - torch.special.xlogy(p, q).sum()
    loss.backward()
    assert largest.logprobs.shape == (5, most)
    assert value.item() == pytest.approx(loss.item(), rel=1e-4)
    np.testing.assert_allclose(np.array(gradient), x.grad.numpy(), atol=1e-5)
