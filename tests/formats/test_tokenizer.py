import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers

from composer.core.errors import ComposerError
from composer.core.location import Location
from composer.formats import read_tokenizer
from tests.formats.making import HERE, one, refusal

SMALL: dict[str, Any] = {
    "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": [["a", "b"]]},
    "added_tokens": [{"id": 3, "content": "<|audio_pad|>", "special": True}],
}


def tokenizer(**changes: Any) -> bytes:
    return json.dumps(SMALL | changes).encode()


def model(**changes: Any) -> dict[str, Any]:
    return SMALL["model"] | changes


BAD = {
    "F1 garbage": (b"\xff\xad", "repo/m: S410 the file has text that is not UTF-8"),
    "not JSON": (
        b"{]",
        "repo/m:1:2: S410 the file is not JSON: Expecting property name enclosed in double quotes",
    ),
    "LFS pointer": (
        b"version https://git-lfs.github.com/spec/v1\n",
        "repo/m: S404 is a Git LFS pointer, not a tokenizer.json\n"
        "    hint: run `git lfs pull` in the repository, or fetch the file from the Hub",
    ),
    "no model": (b"{}", "repo/m: S460 model is null; expected an object"),
    "unknown model": (
        tokenizer(model=model(type="Neural")),
        "repo/m: S460 the model's type is 'Neural'; "
        "expected one of BPE, WordPiece, WordLevel, Unigram",
    ),
    "no vocab": (
        tokenizer(model={"type": "BPE"}),
        "repo/m: S460 vocab is null; expected an object or a list",
    ),
    "vocab of scores": (
        tokenizer(model={"type": "Unigram", "vocab": [["a", 0.0], ["b"], ["a", 1.0]]}),
        "repo/m: S460 vocab entry 1 is not [token, score]\n"
        "repo/m: S461 the token 'a' is in the vocab twice",
    ),
    "token twice": (
        b'{"model": {"type": "BPE", "vocab": {"a": 0, "a": 1}}}',
        "repo/m: S411 the file has the key 'a' twice",
    ),
    "id twice": (
        tokenizer(model=model(vocab={"a": 0, "b": 0})),
        "repo/m: S461 'a' and 'b' both have the id 0",
    ),
    "negative id": (
        tokenizer(model=model(vocab={"a": -1})),
        "repo/m: S461 the token 'a' has the id '-1'; expected 0 to 16777215",
    ),
    "F6 id out of range": (
        tokenizer(added_tokens=[{"id": 2**24, "content": "<s>"}]),
        "repo/m: S461 the token '<s>' has the id '16777216'; expected 0 to 16777215",
    ),
    "id is a boolean": (
        tokenizer(model=model(vocab={"a": True})),
        "repo/m: S461 the token 'a' has the id 'True'; expected 0 to 16777215",
    ),
    "added id of another": (
        tokenizer(added_tokens=[{"id": 2, "content": "<s>"}]),
        "repo/m: S461 'ab' and '<s>' both have the id 2",
    ),
    "added with two ids": (
        tokenizer(added_tokens=[{"id": 7, "content": "ab"}]),
        "repo/m: S461 'ab' has the id 7 as an added token, 2 in the vocab",
    ),
    "added twice": (
        tokenizer(added_tokens=[{"id": 3, "content": "<s>"}, {"id": 4, "content": "<s>"}]),
        "repo/m: S461 the added token '<s>' occurs twice",
    ),
    "added without content": (
        tokenizer(added_tokens=[{"id": 3}]),
        "repo/m: S460 added token 0 has no content",
    ),
    "added with a flag": (
        tokenizer(added_tokens=[{"id": 3, "content": "<s>", "special": 1}]),
        "repo/m: S460 added token '<s>' has a flag that is not a boolean",
    ),
    "added is an object": (
        tokenizer(added_tokens={"<s>": 3}),
        "repo/m: S460 added_tokens is an object; expected a list",
    ),
    "F2 pattern": (
        tokenizer(pre_tokenizer={"type": "Split", "pattern": {"Regex": "(a+)+$"}}),
        "repo/m: S462 a pattern of pre_tokenizer repeats a group that itself repeats: '(a+)+$'",
    ),
    "F3 replacements": (
        tokenizer(
            normalizer={
                "type": "Sequence",
                "normalizers": [{"type": "Replace", "pattern": {"String": "a"}, "content": "aa"}]
                * 30,
            }
        ),
        "repo/m: S463 normalizer can make a text 1073741824 times as long; the limit is 256",
    ),
    "long replacement": (
        tokenizer(normalizer={"type": "Replace", "pattern": {"String": "a"}, "content": "b" * 500}),
        "repo/m: S463 a rule of normalizer writes 500 characters at each match; the limit is 256\n"
        "repo/m: S463 normalizer can make a text 500 times as long; the limit is 256",
    ),
    "long prefix": (
        tokenizer(normalizer={"type": "Prepend", "prepend": "b" * 500}),
        "repo/m: S463 a rule of normalizer writes 500 characters at each match; the limit is 256",
    ),
    "template": (
        tokenizer(
            post_processor={
                "type": "TemplateProcessing",
                "single": [{"Sequence": {"id": "A", "type_id": 0}}] * 100,
            }
        ),
        "repo/m: S463 post_processor writes the text 100 times; the limit is 8",
    ),
    "many rules": (
        tokenizer(decoder={"type": "Sequence", "decoders": [{"type": "Fuse"}] * 2000}),
        "repo/m: S463 decoder has more than 1000 rules",
    ),
    "many patterns": (
        tokenizer(
            pre_tokenizer={
                "type": "Sequence",
                "pretokenizers": [
                    {"type": "Split", "pattern": {"Regex": f"{n:03}" + "[" * 4000}}
                    for n in range(900)
                ],
            }
        ),
        "repo/m: S462 its patterns have over 16384 characters",
    ),
    "padding": (
        tokenizer(padding={"strategy": {"Fixed": 10**12}, "pad_to_multiple_of": -1}),
        "repo/m: S463 padding.strategy is '1000000000000'; the limit is 1000000\n"
        "repo/m: S463 padding.pad_to_multiple_of is '-1'; the limit is 1000000",
    ),
}


@pytest.mark.parametrize(("data", "text"), BAD.values(), ids=BAD)
def test_bad_tokenizer_is_refused(data: bytes, text: str) -> None:
    assert refusal(lambda: read_tokenizer(HERE, one(data))) == text


def test_size_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("composer.formats.tokenizer.SIZE", 20)
    text = refusal(lambda: read_tokenizer(HERE, one(bytes(21))))
    assert text == "repo/m: S408 has 21 bytes; the limit is 20"


def test_ids() -> None:
    info = read_tokenizer(HERE, one(tokenizer()))
    assert info.model == "BPE"
    assert (info.id_of("ab"), info.id_of("<|audio_pad|>"), info.id_of("zz")) == (2, 3, None)
    assert info.added["<|audio_pad|>"].special
    assert (info.size, info.max_id) == (4, 3)


def test_agrees_with_the_library(repo: Location) -> None:
    """A byte-level BPE with Qwen's split pattern, saved by the library itself."""
    vocab = {token: id for id, token in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    known = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    known.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(" ", "▁"), normalizers.Prepend("▁")]
    )
    known.pre_tokenizer = pre_tokenizers.ByteLevel(use_regex=False)
    known.add_special_tokens([AddedToken("<|im_end|>", special=True), "<|audio_pad|>"])
    known.add_tokens(["<asr_text>", "!"])
    known.save(str((repo / "tokenizer.json").path))
    info = read_tokenizer(repo)
    everything = known.get_vocab(with_added_tokens=True)
    assert {token: info.id_of(token) for token in everything} == everything
    assert info.size == known.get_vocab_size(with_added_tokens=True)
    assert info.max_id == max(everything.values())
    assert {token.id: token.special for token in info.added.values()} == {
        id: token.special for id, token in known.get_added_tokens_decoder().items()
    }


@given(st.integers(0, len(tokenizer()) - 1), st.integers(0, 255))
def test_a_damaged_file_never_crashes(at: int, byte: int) -> None:
    damaged = bytearray(tokenizer(normalizer={"type": "NFC"}))
    damaged[at] = byte
    with suppress(ComposerError):
        assert read_tokenizer(HERE, one(bytes(damaged))).size >= 3
