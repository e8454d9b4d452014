"""Tokenizers of GGUF files against those that they were written from."""

import io
import json

import pytest
import sentencepiece
from gguf import GGUFWriter, TokenType
from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    trainers,
)

from composer.core.location import Location
from composer.formats import gguf_tokenizer, read_tokenizer, tokenizer_bytes
from composer.formats.gguf_tokenizer import LLAMA3
from composer.formats.vocab_merges import QWEN2
from tests.formats.making import refusal
from tests.models.gguf_files import add_value

CORPUS = [
    "The names of the speakers, and what they say: it's 10 o'clock, they're late.",
    "In 2024 the river rose by 12345 mm; nobody'd seen THAT before!",
    "Übermorgen gehen wir ins Kino. 我们明天去看电影。 Ça va bien, merci.",
    "def f(x):\n\treturn x + 1\r\n\n  indented   twice",
] * 30
TEXTS = [*CORPUS[:4], "", " ", "   a", "<|im_start|>user\nHi<|im_end|>", "\U0001f600 é cafe\u0301",
         "a<think>b</think>", "x" * 40, "\n\n\n", "12345678 9"]  # fmt: skip
PLAIN = [text for text in TEXTS if "<" not in text]
CONTROL = ["<|im_start|>", "<|im_end|>"]
WORDS = ["<think>", "</think>"]
BESIDE = "\n    hint: put the tokenizer.json of the original checkpoint beside the file"


def byte_level(pattern, whole_words, nfc):
    """Train a byte-level BPE that splits by a pattern."""
    made = Tokenizer(models.BPE(ignore_merges=whole_words))
    made.normalizer = normalizers.NFC() if nfc else None
    split = pre_tokenizers.Split(Regex(pattern), "isolated")
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    made.pre_tokenizer = pre_tokenizers.Sequence([split, level])
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=700,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
        max_token_length=12,
    )
    made.train_from_iterator(CORPUS, trainer)
    made.add_special_tokens([AddedToken(token, normalized=False) for token in CONTROL])
    made.add_tokens([AddedToken(token, normalized=False) for token in WORDS])
    return made


def sentence_piece(prefix):
    """Train a model of SentencePiece with a token for each byte, as Llama 2 and Gemma have it."""
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS), model_writer=written, model_type="bpe", vocab_size=400,
        byte_fallback=True, normalization_rule_name="identity", remove_extra_whitespaces=False,
        add_dummy_prefix=prefix, control_symbols=CONTROL, user_defined_symbols=WORDS,
        max_sentencepiece_length=12, minloglevel=2,
    )  # fmt: skip
    return sentencepiece.SentencePieceProcessor(model_proto=written.getvalue())


def byte_level_metadata(tokenizer, pre):
    """Return what llama.cpp's converter writes of a tokenizer.json."""
    tokens = [token for token, _ in sorted(tokenizer.get_vocab().items(), key=lambda pair: pair[1])]
    kinds = dict.fromkeys(CONTROL, TokenType.CONTROL) | dict.fromkeys(WORDS, TokenType.USER_DEFINED)
    merges = json.loads(tokenizer.to_str())["model"]["merges"]
    return {
        "model": "gpt2",
        "pre": pre,
        "tokens": tokens,
        "token_type": [int(kinds.get(token, TokenType.NORMAL)) for token in tokens],
        "merges": [" ".join(pair) for pair in merges],
    }


def sentence_piece_metadata(model, prefix):
    """Return what llama.cpp's converter writes of a tokenizer.model."""
    ids = range(model.get_piece_size())
    kinds = []
    for id in ids:
        kind = TokenType.BYTE if model.is_byte(id) else TokenType.NORMAL
        kind = TokenType.CONTROL if model.is_control(id) else kind
        kind = TokenType.USER_DEFINED if model.id_to_piece(id) in WORDS else kind
        kinds.append(int(TokenType.UNKNOWN if model.is_unknown(id) else kind))
    return {
        "model": "llama",
        "tokens": [model.id_to_piece(id) for id in ids],
        "scores": [model.get_score(id) for id in ids],
        "token_type": kinds,
        "add_space_prefix": prefix,
    }


def write(folder, **metadata):
    """Write a GGUF file that has a tokenizer and no tensor."""
    file = folder / "model.gguf"
    writer = GGUFWriter(file, "llama")
    for key, value in metadata.items():
        add_value(writer, f"tokenizer.ggml.{key}", value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return Location("repo", file.name, folder)


@pytest.mark.parametrize(
    ("pre", "pattern", "whole_words", "nfc"),
    [("qwen2", QWEN2, False, True), ("llama-bpe", LLAMA3, True, False)],
)
def test_ids_and_texts_are_those_of_the_tokenizer_json(pre, pattern, whole_words, nfc, tmp_path):
    theirs = byte_level(pattern, whole_words, nfc)
    file = write(tmp_path, **byte_level_metadata(theirs, pre))
    ours = Tokenizer.from_str(tokenizer_bytes(file).decode())
    assert ours.get_vocab() == theirs.get_vocab()
    for text in TEXTS:
        expected = theirs.encode(text, add_special_tokens=False).ids
        assert ours.encode(text, add_special_tokens=False).ids == expected, text
        for skip in (False, True):
            want = theirs.decode(expected, skip_special_tokens=skip)
            assert ours.decode(expected, skip_special_tokens=skip) == want
    added = read_tokenizer(file).added
    assert {token: added[token].special for token in added} == {
        "<|im_start|>": True, "<|im_end|>": True, "<think>": False, "</think>": False,
    }  # fmt: skip


@pytest.mark.parametrize("prefix", [True, False])
def test_ids_and_texts_are_those_of_sentencepiece(prefix, tmp_path):
    theirs = sentence_piece(prefix)
    file = write(tmp_path, **sentence_piece_metadata(theirs, prefix))
    ours = Tokenizer.from_str(tokenizer_bytes(file).decode())
    for text in PLAIN:
        expected = theirs.encode(text)
        assert ours.encode(text, add_special_tokens=False).ids == expected, text
        assert ours.decode(expected) == theirs.decode(expected) == text


def gemma4():
    """Train a BPE in the form of Gemma-4's tokenizer.json: merges, and a token for each byte."""
    bytes_ = [f"<0x{number:02X}>" for number in range(256)]
    made = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    made.normalizer = normalizers.Replace(" ", "▁")
    trainer = trainers.BpeTrainer(
        vocab_size=700, special_tokens=["<unk>", *bytes_], show_progress=False, max_token_length=12
    )
    made.train_from_iterator(CORPUS, trainer)
    content = json.loads(made.to_str())
    content["added_tokens"] = []
    made = Tokenizer.from_str(json.dumps(content))
    made.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    replaced = decoders.Replace("▁", " ")
    made.decoder = decoders.Sequence([replaced, decoders.ByteFallback(), decoders.Fuse()])
    made.add_special_tokens([AddedToken(token, normalized=False) for token in CONTROL])
    made.add_tokens([AddedToken(token, normalized=False) for token in WORDS])
    return made


def gemma4_metadata(tokenizer):
    """Return what llama.cpp's converter writes of it; scores are there and say nothing."""
    found = byte_level_metadata(tokenizer, "")
    del found["pre"]
    for number, token in enumerate(found["tokens"]):
        if token.startswith("<0x"):
            found["token_type"][number] = int(TokenType.BYTE)
        if token == "<unk>":
            found["token_type"][number] = int(TokenType.CONTROL)
    scores = [-1000.0] * len(found["tokens"])
    return found | {"model": "gemma4", "scores": scores, "add_space_prefix": False}


def test_gemma4s_merges_are_those_that_are_stored(tmp_path):
    theirs = gemma4()
    file = write(tmp_path, **gemma4_metadata(theirs))
    ours = Tokenizer.from_str(tokenizer_bytes(file).decode())
    assert ours.get_vocab() == theirs.get_vocab()
    for text in TEXTS:
        expected = theirs.encode(text, add_special_tokens=False).ids
        assert ours.encode(text, add_special_tokens=False).ids == expected, text
        assert ours.decode(expected, skip_special_tokens=False) == theirs.decode(
            expected, skip_special_tokens=False
        )
    by_score = write(tmp_path, **gemma4_metadata(theirs) | {"model": "llama"})
    other = Tokenizer.from_str(tokenizer_bytes(by_score).decode())
    assert any(other.encode(text).ids != theirs.encode(text).ids for text in CORPUS[:4])


REFUSED = {
    "no tokens": ({"tokens": None}, "S460 has no tokenizer.ggml.tokens" + BESIDE),
    "a token twice": ({"tokens": ["a", "a"]}, "S461 tokenizer.ggml.tokens has 1 tokens twice"),
    "another model": (
        {"model": "bert"},
        "S460 tokenizer.ggml.model is 'bert'; expected gpt2, llama or gemma4" + BESIDE,
    ),
    "another split": (
        {"pre": "deepseek-llm"},
        "S460 tokenizer.ggml.pre is 'deepseek-llm'; expected one of qwen2, llama-bpe, gpt-2"
        + BESIDE,
    ),
    "a merge that is no pair": (
        {"merges": ["a b", "ab"]},
        "S460 tokenizer.ggml.merges 1 is not a pair of tokens: 'ab'",
    ),
    "types of other tokens": (
        {"token_type": [1]},
        "S460 tokenizer.ggml.token_type is not one number for each of 2 tokens",
    ),
    "no scores": (
        {"model": "llama"},
        "S460 tokenizer.ggml.scores is not one number for each of 2 tokens",
    ),
    "scores that are texts": (
        {"model": "llama", "scores": ["0", "1"]},
        "S460 tokenizer.ggml.scores is not one number for each of 2 tokens",
    ),
    "scores without order": (
        {"model": "llama", "scores": [0.0, float("nan")]},
        "S460 tokenizer.ggml.scores is not one number for each of 2 tokens",
    ),
    "a piece without end": (
        {"model": "llama", "tokens": ["a", "b" * 300], "scores": [0.0, -1.0]},
        "S460 the token '" + "b" * 57 + "...' has 300 characters",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_it_refuses(case, tmp_path):
    changes, message = REFUSED[case]
    given = {"model": "gpt2", "pre": "qwen2", "tokens": ["a", "b"], "merges": ["a b"]} | changes
    file = write(tmp_path, **{key: value for key, value in given.items() if value is not None})
    assert refusal(lambda: tokenizer_bytes(file)) == f"{file}: {message}"


@pytest.mark.parametrize(
    ("limit", "most", "message"),
    [
        ("CHARACTERS", 5, "the tokens have 6 characters; the limit is 5"),
        ("MERGES", 1, "its tokens are merged in more than 1 ways"),
    ],
)
def test_what_its_pieces_make_is_bounded(limit, most, message, tmp_path, monkeypatch):
    file = write(tmp_path, model="llama", tokens=["a", "aa", "aaa"], scores=[0.0, -1.0, -2.0])
    assert read_tokenizer(file).size == 3
    monkeypatch.setattr(gguf_tokenizer, limit, most)
    assert refusal(lambda: tokenizer_bytes(file)) == f"{file}: S463 {message}"
