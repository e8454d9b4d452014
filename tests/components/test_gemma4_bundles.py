"""The manifests of Gemma-4 that ship, run with a tiny model of each size, talk as transformers."""

import pytest
import torch

import composer
from tests import releases, replica
from tests.components.checkpoint_files import rename
from tests.components.gemma4_models import SMALL, edit, save, torch_model
from tests.reference.gemma4_vision import Gemma4Vision

WORDS = 300
FEW = {"answer": {"max_tokens": 8}}


@pytest.mark.parametrize("size", releases.SIZES)
def test_a_conversation_is_that_of_transformers(size, tmp_path):
    kind = size.partition("-")[0]
    model = torch_model(kind, vocab_size=WORDS, vocab_size_per_layer_input=WORDS)
    prefix, whole = "language_model.model.", kind in SMALL
    folder = save(model, tmp_path / "repo", kind, prefix=prefix, whole=whole)
    towers = Gemma4Vision(kind, audio=whole, patch_size=16)  # which other tasks use
    rename(folder, lambda state: state.pop("model.vision_tower.patch.weight", None))
    rename(folder, lambda state: state.update(towers.towers()))
    edit(folder, **towers.tower_configs())
    replica.tokenizer(folder, releases.GEMMA_SPECIALS)
    history = []
    with composer.load(f"gemma-4-{size}", sources={"repo": folder}) as bundle:
        for text in ("Good morning.", "What did I say?"):
            taps = ["asked.ids", "answer.ids"]
            given = {"text": text, "history": history}
            messages = bundle.run(task="chat", taps=taps, options=FEW, **given)
            prompt_ids = torch.tensor(messages.taps["asked.ids"])[None]
            with torch.no_grad():
                expected = model.generate(prompt_ids, max_new_tokens=8, do_sample=False)
            ours = messages.taps["answer.ids"].tolist()
            assert ours
            assert expected[0, prompt_ids.shape[1] :].tolist()[: len(ours)] == ours
            history = messages.outputs["history"]
            assert history.tolist()[: prompt_ids.shape[1]] == prompt_ids[0].tolist()
