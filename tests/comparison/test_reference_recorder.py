import sys
from importlib.metadata import version

import numpy as np
import pytest
import torch

from composer import read_audio
from composer.comparison.reference_recorder import ReferenceRecorder


def test_what_modules_of_torch_give_is_kept():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.GELU(), torch.nn.Linear(3, 2))
    kept = ReferenceRecorder(model="two layers")
    hook = kept.hook(model[0], "hidden", "T D")
    kept.hook(model, "out", "T O")
    kept.keep("x", torch.ones(5, 4), "T I")
    with torch.no_grad():
        expected = model(torch.ones(1, 5, 4))
    hook.remove()
    dump = kept.dump()
    assert list(dump.stages) == ["x", "hidden", "out"]
    assert dump.about["model"] == "two layers"
    assert dump.about["versions"] == {
        name: version(name) for name in ("numpy", "torch", "transformers") if name in sys.modules
    }
    np.testing.assert_array_equal(dump.stages["out"].value, expected[0].numpy())
    assert dump.stages["hidden"].axes == ("T", "D")


def test_true_dtypes_are_kept():
    kept = ReferenceRecorder()
    kept.keep("x", torch.ones(3, dtype=torch.bfloat16), "T")
    kept.keep("ids", torch.arange(3), "T")
    kept.keep("audio", read_audio((np.ones(8, np.float32) / 2, 8000)))
    kept.keep("line", "hi")
    stages = kept.dump().stages
    assert [stage.dtype for stage in stages.values()] == ["bf16", "i64", "audio", "text"]
    assert stages["x"].value.dtype == np.float32


def test_what_is_kept_does_not_change_any_more():
    kept, rows = ReferenceRecorder(), np.zeros((2, 3), np.float32)
    kept.keep("x", rows, "T D")
    rows += 1
    assert not kept.stages["x"].value.any()


def test_only_the_next_call_is_kept():
    model, kept = torch.nn.Linear(2, 2), ReferenceRecorder()
    kept.hook(model, "x", "T D")
    with torch.no_grad():
        first = model(torch.ones(3, 2))
        model(torch.zeros(1, 2))
    np.testing.assert_array_equal(kept.stages["x"].value, first.numpy())


def test_a_row_may_lie_along_another_axis():
    kept = ReferenceRecorder()
    kept.keep("mel", np.zeros((80, 7), np.float32), "M F", along="M")
    assert kept.stages["mel"].along == 0


def test_axes_are_counted():
    with pytest.raises(ValueError, match=r"'x' is \[2, 3, 4\], which is no 'T D'"):
        ReferenceRecorder().keep("x", np.zeros((2, 3, 4)), "T D")


def test_a_model_of_transformers_answers_step_by_step():
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(1)
    model = LlamaForCausalLM(
        LlamaConfig(vocab_size=23, hidden_size=16, intermediate_size=24, num_hidden_layers=2,
                    num_attention_heads=2, eos_token_id=None, initializer_range=0.4)
    ).eval()  # fmt: skip
    ids = torch.tensor([[3, 9, 4]])
    given = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    kept = ReferenceRecorder()
    with torch.no_grad():
        messages = kept.generate(model, given, max_new_tokens=6, pad_token_id=0)
        logits = model(torch.cat([ids, torch.tensor([messages])], 1)).logits[0]
    steps = kept.stages["answer_steps"]
    assert len(messages) == 6
    assert kept.stages["answer.ids"].value.tolist() == messages == steps.value.argmax(1).tolist()
    np.testing.assert_allclose(steps.value, logits[2:-1].numpy(), atol=1e-5)
    # One that ends it is no part of it, and has no step.
    ended, end = ReferenceRecorder(), messages[3]
    again = ended.generate(model, given, max_new_tokens=6, pad_token_id=0, eos_token_id=end)
    assert again == messages[: messages.index(end)]
    assert len(ended.stages["answer_steps"].value) == len(again)
