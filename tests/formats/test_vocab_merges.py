"""A tokenizer of vocab.json and merges.txt against transformers' own."""

import json

import pytest
import transformers
from tokenizers import Tokenizer

from composer.core.errors import ComposerError
from composer.core.location import Location
from composer.formats import read_tokenizer, tokenizer_bytes, tokenizer_file
from tests.reference.qwen3_asr import make_tokenizer
from tests.replica import split_tokenizer

TEXTS = (
    "",
    "The names of the speakers, and  what they say:\n\n 1234 times!",
    "<|im_start|>system\n<|im_end|>language English<asr_text>it's 10 o'clock\r\n",
    "e\u0301 caf\u00e9 \u4e2d\u6587 \U0001f600 \u00a0x\t\ty",
)


@pytest.fixture
def folder(tmp_path):
    """Return a folder as the release of Qwen3-ASR is: without a tokenizer.json."""
    tokenizer = make_tokenizer()
    tokenizer.save_pretrained(tmp_path)
    split_tokenizer(tmp_path)
    return tmp_path


def location(folder):
    return Location("repo", "", folder)


def built(folder):
    return Tokenizer.from_str(tokenizer_bytes(tokenizer_file(location(folder))).decode())


def change(folder, **values):
    file = folder / "tokenizer_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


@pytest.mark.parametrize("text", TEXTS)
def test_ids_and_texts_are_those_of_transformers(folder, text):
    ours = built(folder)
    theirs = transformers.Qwen2TokenizerFast(
        vocab=str(folder / "vocab.json"), merges=str(folder / "merges.txt")
    )
    plain = text.split(">")[-1]
    want = theirs(plain)["input_ids"]
    assert ours.encode(plain, add_special_tokens=False).ids == want
    whole = make_tokenizer()
    ids = whole(text)["input_ids"]
    assert ours.encode(text, add_special_tokens=False).ids == ids
    for special in (False, True):
        want = whole.decode(ids, skip_special_tokens=special)
        assert ours.decode(ids, skip_special_tokens=special) == want


def test_gpt2_splits_by_another_pattern(folder):
    text = "it's 10 o'clock:\n\n 1234"

    def pieces(tokenizer):
        return tokenizer.pre_tokenizer.pre_tokenize_str(text)

    qwen = pieces(built(folder))
    change(folder, tokenizer_class="GPT2TokenizerFast")
    theirs = transformers.GPT2TokenizerFast(
        vocab=str(folder / "vocab.json"), merges=str(folder / "merges.txt")
    )
    assert pieces(built(folder)) == pieces(theirs.backend_tokenizer)
    assert pieces(built(folder)) != qwen
    assert built(folder).encode(text).ids == theirs(text)["input_ids"]


def test_it_is_described_like_any_other(folder):
    found = read_tokenizer(location(folder))
    assert found.model == "BPE"
    assert found.id_of("<asr_text>") == make_tokenizer().convert_tokens_to_ids("<asr_text>")
    assert found.added["<asr_text>"].special is False


def test_a_tokenizer_json_comes_first(folder):
    (folder / "tokenizer.json").write_text("{}")
    assert tokenizer_file(location(folder)).inside == "tokenizer.json"


REFUSED = {
    "another class": (
        {"tokenizer_class": "LlamaTokenizer"},
        "repo/tokenizer_config.json: S460 tokenizer_class is 'LlamaTokenizer'; "
        "expected one of Qwen2Tokenizer, GPT2Tokenizer\n"
        "    hint: save the tokenizer with transformers, so that tokenizer.json "
        "is beside vocab.json",
    ),
    "a space before": ({"add_prefix_space": True}, "S460 add_prefix_space is true"),
    "a list of tokens": ({"added_tokens_decoder": []}, "S460 added_tokens_decoder is no object"),
    "an id that is none": (
        {"added_tokens_decoder": {"x": {"content": "y"}}},
        "S460 added_tokens_decoder has 'x', which is no token's id",
    ),
    "a key that nobody knows": (
        {"added_tokens_decoder": {"7": {"content": "y", "glow": 1}}},
        "S460 the added token 7 has the key 'glow'",
    ),
}


@pytest.mark.parametrize("case", REFUSED, ids=str)
def test_what_it_cannot_be_is_refused(folder, case):
    values, message = REFUSED[case]
    change(folder, **values)
    with pytest.raises(ComposerError) as caught:
        read_tokenizer(location(folder))
    assert message in str(caught.value)


def test_a_line_that_is_no_pair_is_refused(folder):
    (folder / "merges.txt").write_text("#version: 0.2\na b\na b c\n")
    with pytest.raises(ComposerError, match=r"repo/merges.txt: S460 line 3 is not a pair of tok"):
        read_tokenizer(location(folder))


def test_bytes_that_are_no_text_are_refused(folder):
    (folder / "merges.txt").write_bytes(b"a b\n\xff")
    with pytest.raises(ComposerError, match="S460 is not UTF-8: byte 4"):
        read_tokenizer(location(folder))
