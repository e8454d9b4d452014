"""Any value of any key of a GGUF file is taken or refused, and nothing else happens."""

import pytest

from composer.components.checkpoints.gemma4.checkpoint import read_decoder
from composer.components.models.decoder import read_decoder as read_plain_decoder
from composer.core.component import ComponentConfig, Spec
from composer.core.errors import ComposerError
from composer.core.location import Location
from composer.formats import Headers, headers
from composer.formats.gguf import GgufFile, read_gguf
from tests.models.backends import family
from tests.models.decoders import spec
from tests.reference import llama_cpp, test_mmproj
from tests.reference.gemma4_audio import Gemma4Audio
from tests.reference.gemma4_vision import Gemma4Vision
from tests.reference.qwen3_asr import make_model, make_tokenizer
from tests.reference.test_llama_cpp import built

pytestmark = [pytest.mark.usefixtures("one_thread"), pytest.mark.slow]
VALUES = ([], "x", -1, 0, 2**63 - 1, True, 1.5, float("nan"), [True, "a"], [0] * 6, [2**40] * 6)


def facts_of(name, file):
    found = Spec("tower", ComponentConfig(), Location("repo", file.name, file.parent))
    return lambda: family(name, "onnx").facts(found, Headers())


def gemma4(folder):
    model, config = built("e2b")
    file = folder / "model.gguf"
    llama_cpp.write_text(model.state_dict(), config, file, **{"ggml.tokens": ["<eos>", "<turn|>"]})
    return file, lambda: read_decoder(Location("repo", file.name, folder), Headers())


def sight(folder):
    file = test_mmproj.write(Gemma4Vision("e2b"), folder)
    return file, facts_of("gemma4_vision", file)


def speech(folder):
    file = test_mmproj.write(Gemma4Audio(), folder)
    return file, facts_of("gemma4_audio", file)


def qwen3_asr(folder):
    tokenizer = make_tokenizer()
    model, core = make_model(tokenizer), tokenizer.backend_tokenizer
    llama_cpp.write_qwen3_asr(model, core, folder, lambda name: "f32")


def qwen3_asr_speech(folder):
    qwen3_asr(folder)
    file = folder / "mmproj-Qwen3-ASR-Q8_0.gguf"
    return file, facts_of("qwen3_asr_audio", file)


def qwen3_asr_words(folder):
    qwen3_asr(folder)
    file = folder / "Qwen3-ASR-Q8_0.gguf"
    return file, lambda: read_plain_decoder(spec(file), Headers())


READERS = [gemma4, sight, speech, qwen3_asr_speech, qwen3_asr_words]


@pytest.mark.parametrize("make", READERS, ids=lambda each: each.__name__)
def test_no_value_of_a_key_is_more_than_refused(make, tmp_path, monkeypatch):
    file, read = make(tmp_path)
    whole = read_gguf(Location("repo", file.name, tmp_path))
    read()
    refused = 0
    for key in whole.metadata:
        for value in VALUES:
            changed = GgufFile({**whole.metadata, key: value}, whole.tensors)
            monkeypatch.setattr(headers, "read_gguf", lambda *_, changed=changed: changed)
            try:
                read()
            except ComposerError:
                refused += 1
    assert refused > len(whole.metadata)
