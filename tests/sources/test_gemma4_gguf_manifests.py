"""Gemma-4 in llama.cpp's GGUF files without a manifest, against transformers."""

import numpy as np
import pytest

import composer
from composer.sources.resolve import find_bundle
from tests.components import gemma4_models
from tests.reference import llama_cpp
from tests.reference.elderwise import SPECIAL
from tests.reference.gemma4_audio import MORE
from tests.reference.gemma4_vision import TOKENS, Gemma4Vision

pytestmark = pytest.mark.usefixtures("one_thread")
FEW = {"answer": {"max_tokens": TOKENS}}
MARKS = (*SPECIAL, *MORE)
PROMPT = "<bos><|turn>user\nis this the end?<turn|>\n<|turn>model\n"


class Gemma4(Gemma4Vision):
    """The whole model, with a tokenizer that a GGUF file can hold."""

    make_tokenizer = staticmethod(llama_cpp.gemma_tokenizer)


def write_model(theirs, file):
    """Write the decoder's file, and give the model the weights that it stands for."""
    state = {f"model.{name}": value
             for name, value in theirs.model.model.language_model.state_dict().items()}  # fmt: skip
    config = gemma4_models.config_of(theirs.model.model.language_model, theirs.kind)
    tokenizer = llama_cpp.tokenizer_metadata(theirs.tokenizer, MARKS)
    meant = llama_cpp.write_text(state, config, file, lambda name: "q8_0", **tokenizer)
    own = {name.removeprefix("model."): value for name, value in meant.items()}
    theirs.model.model.language_model.load_state_dict(own)
    theirs.model.tie_weights()


@pytest.fixture(scope="module", params=["e2b", "31b"])
def gemma(request, tmp_path_factory):
    theirs = Gemma4(request.param, audio=request.param == "e2b")
    theirs.folder = tmp_path_factory.mktemp(request.param)
    write_model(theirs, theirs.folder / "gemma-4-it-Q8_0.gguf")
    return theirs


def test_a_conversation_is_that_of_transformers(gemma):
    file = gemma.folder / "gemma-4-it-Q8_0.gguf"
    names = {"e2b": "gemma-4-gguf", "31b": "gemma-4-gguf-large"}
    assert find_bundle(file).path.stem == names[gemma.kind]
    with composer.load(file) as bundle:
        taps = bundle.run(text="is this the end?", taps=True, options=FEW).taps
    ids = np.array(gemma.tokenizer.encode(PROMPT).ids)
    assert taps["asked.ids"].tolist() == ids.tolist()
    _, answer = gemma.answer(ids, [])
    found = taps["answer.ids"].tolist()
    assert found == answer[: len(found)]
    assert len({*found}) > 4
