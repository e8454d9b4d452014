"""Gemma-4 in llama.cpp's GGUF files without a manifest, against transformers."""

import numpy as np
import pytest

import composer
from composer.cli import main
from composer.sources.checkpoint import mmproj_file
from composer.sources.resolve import find_bundle
from tests.components.test_pixels import picture
from tests.reference.gemma4_vision import TOKENS
from tests.reference.qwen3_asr import make_clip
from tests.sources import checkpoints
from tests.sources.checkpoints import ENCODERS, GEMMA

pytestmark = pytest.mark.usefixtures("one_thread")
FEW = {"answer": {"max_tokens": TOKENS}}
PROMPT = "<bos><|turn>user\nis this the end?<turn|>\n<|turn>model\n"
WORDS = {"e2b": "gemma-4-gguf", "31b": "gemma-4-gguf-large"}
SIGHT = {"e2b": "gemma-4-gguf-speech", "31b": "gemma-4-gguf-vision"}


@pytest.fixture(scope="module", params=["e2b", "31b"])
def gemma(request, tmp_path_factory):
    """Return the model of a folder with a decoder and its encoders, and one of the decoder."""
    folder = tmp_path_factory.mktemp(request.param) / "repo"
    theirs = checkpoints.gemma4_gguf(folder, request.param)
    theirs.folder = folder
    theirs.words_alone = tmp_path_factory.mktemp("words") / GEMMA
    theirs.words_alone.write_bytes((folder / GEMMA).read_bytes())
    return theirs


def taps_of(name, **given):
    with composer.load(name) as bundle:
        return bundle.run(taps=True, options=FEW, **given).taps


def require_same(theirs, taps, pictures=(), clip=None):
    """Compare the inputs of the decoder and its answer with the whole model's."""
    inputs, answer = theirs.answer(np.array(taps["asked.ids"]), list(pictures), clip)
    for name in ("embeds", "per_layer"):
        if name in inputs:
            np.testing.assert_allclose(taps[name], inputs[name], atol=1e-4, err_msg=name)
    found = taps["answer.ids"].tolist()
    assert found == answer[: len(found)]
    assert len({*found}) > 4


def test_a_conversation_is_that_of_transformers(gemma):
    assert find_bundle(gemma.words_alone).path.stem == WORDS[gemma.kind]
    for name in (gemma.words_alone, gemma.folder):
        taps = taps_of(name, task="chat", text="is this the end?")
        assert taps["asked.ids"].tolist() == gemma.tokenizer.encode(PROMPT).ids
        require_same(gemma, taps)


def test_a_picture_is_seen_as_by_transformers(gemma):
    assert find_bundle(gemma.folder).path.stem == SIGHT[gemma.kind]
    pixels = picture(60, 80)
    taps = taps_of(gemma.folder, task="see", picture=pixels, question="is it?")
    require_same(gemma, taps, [pixels])


def test_speech_is_written_as_by_transformers(gemma):
    if gemma.kind == "31b":
        pytest.skip("it takes no audio")
    clip = make_clip(1.0)
    taps = taps_of(gemma.folder / GEMMA, task="transcribe", audio=(clip, 16_000))
    require_same(gemma, taps, clip=clip)


def test_a_repository_runs_by_its_id_and_then_offline(gemma, hub, new_process, tmp_path):
    if gemma.kind == "31b":
        pytest.skip("one kind is enough")
    model, encoders = ((gemma.folder / name).read_bytes() for name in (GEMMA, ENCODERS))
    files = {GEMMA: model, ENCODERS: encoders, "mmproj-gemma-4-it-F16.gguf": encoders}
    mirror = hub({"ann/gemma-4-GGUF": files | {"gemma-4-it-Q4_0.gguf": model}})
    name, clip = "ann/gemma-4-GGUF:Q8_0", make_clip(1.0)
    taps = taps_of(name, task="transcribe", audio=(clip, 16_000))
    require_same(gemma, taps, clip=clip)
    assert not mirror.requests_of("mmproj-gemma-4-it-F16.gguf")
    assert main(["new", str(tmp_path / "mine"), "--from", name]) == 0
    text = (tmp_path / "mine/bundle.yaml").read_text()
    lines = (
        f"weights: mmproj/{ENCODERS}, emits",
        f"{{use: gemma4, weights: repo/{GEMMA}}}",
        "\n  repo: hf:ann/gemma-4-GGUF\n",
        "\n  mmproj: hf:ann/gemma-4-GGUF\n",
    )
    for line in lines:
        assert line in text
    new_process(offline=True)
    again = taps_of(name, task="transcribe", audio=(clip, 16_000))
    assert again["answer.ids"].tolist() == taps["answer.ids"].tolist()


@pytest.mark.parametrize(
    ("files", "found"),
    [
        (["a.gguf"], ""),
        (["a.gguf", "mmproj-a.gguf"], "mmproj-a.gguf"),
        (["a.gguf", "a-mmproj.gguf", "mmproj-config.json"], "a-mmproj.gguf"),
        (["a.gguf", "mmproj-F16.gguf", "mmproj-F32.gguf", "mmproj-BF16.gguf"], "mmproj-BF16.gguf"),
        (["a.gguf", "mmproj-Q8_0.gguf", "mmproj-F32.gguf"], "mmproj-F32.gguf"),
        (["a.gguf", "other/mmproj-a.gguf"], ""),
    ],
)
def test_of_several_files_of_encoders_one_with_the_releases_numbers_is_taken(files, found):
    assert mmproj_file("a.gguf", files) == found
