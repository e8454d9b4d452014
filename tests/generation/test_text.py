import json
import resource

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from composer.core.errors import ComposerError
from composer.core.isolation import isolation
from composer.core.location import Location
from composer.generation.text import WINDOW, Detokenizer, read_tokenizer

WORDS = ["hello", "world", "tag", "a", "b", "é", "日", "�", "it's", " "]


def byte_level():
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate(alphabet)}
    encode = pre_tokenizers.ByteLevel(add_prefix_space=False).pre_tokenize_str
    for word in (" hello", "world", "日"):
        vocabulary.setdefault(encode(word)[0][0], len(vocabulary))
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.decoder = decoders.ByteLevel()
    return with_added(tokenizer)


def byte_fallback():
    vocabulary = {f"<0x{byte:02X}>": byte for byte in range(256)}
    for word in WORDS:
        for token in (word, "▁" + word, "▁"):
            vocabulary.setdefault(token, len(vocabulary))
    tokenizer = Tokenizer(models.BPE(vocabulary, [], byte_fallback=True))
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    return with_added(tokenizer)


def metaspace():
    vocabulary = {token: number for number, token in enumerate(["▁", *WORDS, "▁x", "▁y"])}
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.decoder = decoders.Metaspace()
    return with_added(tokenizer)


def word_piece():
    vocabulary = {token: n for n, token in enumerate(["[UNK]", *WORDS, "##ing", "##s", ".", "n't"])}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.decoder = decoders.WordPiece()
    return with_added(tokenizer)


def with_added(tokenizer):
    tokenizer.add_tokens([AddedToken("<asr_text>", special=False)])
    tokenizer.add_special_tokens([AddedToken("<|im_end|>", special=True)])
    return tokenizer


TOKENIZERS = {made.__name__: made() for made in (byte_level, byte_fallback, metaspace, word_piece)}


def pieces_of(tokenizer, ids):
    stream = Detokenizer(tokenizer)
    pieces = [stream.push(token) for token in ids]
    return [*pieces, stream.finish()]


@pytest.mark.parametrize("name", TOKENIZERS)
@given(data=st.data())
@settings(max_examples=100, deadline=None)
def test_pieces_add_up_to_the_whole(name, data):
    tokenizer = TOKENIZERS[name]
    size = tokenizer.get_vocab_size()
    likely = st.one_of(st.integers(0, size - 1), st.integers(max(0, size - 20), size - 1))
    ids = data.draw(st.lists(likely, max_size=4 * WINDOW))
    assert "".join(pieces_of(tokenizer, ids)) == tokenizer.decode(ids)


@given(st.text(max_size=60))
@example("日本語 with 🙂 and é")
@example("�")
@settings(max_examples=100, deadline=None)
def test_real_text_comes_out_whole_and_never_broken(text):
    tokenizer = TOKENIZERS["byte_level"]
    table = dict(zip(_byte_order(), _alphabet(), strict=True))
    ids = [tokenizer.token_to_id(table[byte]) for byte in text.encode()]
    pieces = pieces_of(tokenizer, ids)
    assert "".join(pieces) == text
    if "�" not in text:
        assert not any("�" in piece for piece in pieces)


def _byte_order():
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return plain + [byte for byte in range(256) if byte not in plain]


def _alphabet():
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return [chr(byte) for byte in plain] + [chr(256 + n) for n in range(256 - len(plain))]


def test_a_character_split_over_tokens_waits_until_it_is_whole():
    tokenizer = TOKENIZERS["byte_fallback"]
    ids = [tokenizer.token_to_id(token) for token in ("a", "<0xE6>", "<0x97>", "<0xA5>", "b")]
    assert pieces_of(tokenizer, ids) == ["a", "", "", "", "日b", ""]


def test_a_byte_waits_since_the_next_one_may_spoil_it():
    tokenizer = TOKENIZERS["byte_fallback"]
    ids = [tokenizer.token_to_id(token) for token in ("<0x41>", "<0xE6>", "b")]
    assert pieces_of(tokenizer, ids) == ["", "", "��b", ""]


def test_bytes_that_never_become_a_character_come_out_at_the_end():
    tokenizer = TOKENIZERS["byte_fallback"]
    ids = [tokenizer.token_to_id(token) for token in ("a", "<0xE6>", "<0x97>")]
    assert pieces_of(tokenizer, ids) == ["a", "", "", "��"]


def test_the_first_word_loses_its_space_and_the_others_keep_theirs():
    tokenizer = TOKENIZERS["byte_fallback"]
    ids = [tokenizer.token_to_id(token) for token in ("▁hello", "▁world")]
    assert pieces_of(tokenizer, ids) == ["hello", " world", ""]


def test_added_tokens_stay_unless_they_are_special():
    tokenizer = TOKENIZERS["byte_level"]
    ids = [tokenizer.token_to_id(token) for token in ("a", "<asr_text>", "<|im_end|>", "b")]
    assert pieces_of(tokenizer, ids) == ["a", "<asr_text>", "", "b", ""]


def test_long_texts_are_not_decoded_from_the_start():
    tokenizer = TOKENIZERS["metaspace"]
    longest = 0

    class Watched:
        id_to_token = tokenizer.id_to_token

        def decode(self, ids, skip_special_tokens=True):
            nonlocal longest
            longest = max(longest, len(ids))
            return tokenizer.decode(ids, skip_special_tokens=skip_special_tokens)

    ids = [tokenizer.token_to_id("▁x"), tokenizer.token_to_id("▁y")] * 200
    assert "".join(pieces_of(Watched(), ids)) == tokenizer.decode(ids)
    assert longest == WINDOW


def test_a_file_that_is_no_tokenizer_is_refused(tmp_path):
    path = tmp_path / "tokenizer.json"
    path.write_text("{}")
    with pytest.raises(ComposerError, match=r"R519 repo/tokenizer\.json is not a tokenizer"):
        read_tokenizer(Location("repo", "tokenizer.json", tmp_path))


def pieces_without_end():
    """Return a Unigram model whose table takes a hundred times what its file does."""
    words = [("abcdefghij"[n % 10] + "abcdefghij"[n // 10]) * 20_000 for n in range(50)]
    vocab = [["<unk>", 0.0], *([word, -1.0] for word in words)]
    return {"model": {"type": "Unigram", "unk_id": 0, "vocab": vocab}, "added_tokens": []}


def test_a_table_that_grows_ends_in_the_child(tmp_path, monkeypatch):
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(pieces_without_end()))
    monkeypatch.setattr("composer.generation.tokenizer_process.MEMORY", 300_000_000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with isolation(True), pytest.raises(ComposerError, match=r"R519 .* tokenizers ended its"):
        read_tokenizer(Location("repo", "tokenizer.json", tmp_path))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000


def test_a_decoding_that_takes_long_is_stopped(tmp_path, monkeypatch):
    path = tmp_path / "tokenizer.json"
    metaspace().save(str(path))
    with isolation(True):
        tokenizer = read_tokenizer(Location("repo", "tokenizer.json", tmp_path))
    assert tokenizer.decode([1]) == metaspace().decode([1])
    assert tokenizer.id_to_token(1) == metaspace().id_to_token(1)
    monkeypatch.setattr("composer.generation.tokenizer_process.DECODE_SECONDS", -1.0)
    with pytest.raises(RuntimeError, match="tokenizers took longer than -1 s"):
        tokenizer.decode([1])
