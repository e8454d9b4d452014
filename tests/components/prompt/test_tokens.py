"""Prompts against the tokenizer's own reading of the whole string, and against forgers."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import (
    AddedToken,
    Tokenizer,
    models,
    normalizers,
    pre_tokenizers,
    processors,
)

from composer.core.errors import ComposerError
from tests.components.prompt.tokenizers import ASR, FORCED, SPECIAL, filled, id_of, made, rows, save

transformers = pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def gemma(tmp_path_factory):
    """A BPE built as Gemma's is: control tokens in the vocabulary, white space as added tokens."""
    control = ["<pad>", "<eos>", "<bos>", "<unk>", "<|turn>", "<turn|>"]
    bytes_ = [f"<0x{k:02X}>" for k in range(256)]
    words = ["▁", "\n", *"abcdefghijklmnopqrstuvwxyzTI:|<>", "▁▁", "\n\n", "th", "the", "us", "er"]
    vocab = {token: id for id, token in enumerate([*control, *bytes_, *words])}
    merges = [("t", "h"), ("th", "e"), ("u", "s"), ("e", "r")]
    tokenizer = Tokenizer(
        models.BPE(vocab, merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True)
    )
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    tokenizer.add_special_tokens(control)
    tokenizer.add_tokens([AddedToken(token, normalized=False) for token in ("\n\n", "▁▁")])
    tokenizer.post_processor = processors.TemplateProcessing("<bos> $A", None, [("<bos>", 2)])
    tokenizer.enable_truncation(4)
    return save(tokenizer, tmp_path_factory.mktemp("gemma"))


def whole(folder, text):
    """Return the ids that the tokenizer itself gives a whole string."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_truncation()
    return tokenizer.encode(text, add_special_tokens=False).ids


@pytest.mark.parametrize("language", ["English", "", None])
@pytest.mark.parametrize("context", ["", "Delmas, Wörld;  hot words\n", "ends in space "])
@pytest.mark.parametrize("count", [1, 187])
def test_equals_transformers_on_the_whole_string(qwen, language, context, count):
    reference = transformers.PreTrainedTokenizerFast(tokenizer_file=str(qwen / "tokenizer.json"))
    text = ASR.replace("{context}", context).replace("{speech}", "<|audio_pad|>" * count)
    text = text.replace("{forced}", f"language {language}<asr_text>" if language else "")
    want = reference(text, add_special_tokens=False)["input_ids"]
    component = made(qwen, template=ASR, slot="<|audio_pad|>", optional=FORCED)
    ids, slots, shown = filled(component, speech=rows(count), context=context, language=language)
    assert ids == want
    assert np.array_equal(slots, np.array(want) == id_of(qwen, "<|audio_pad|>"))
    assert slots.sum() == count
    assert shown == text.replace("<|audio_pad|>" * count, f"<|audio_pad|>×{count}")


def test_a_value_is_one_stretch_of_text_with_its_neighbours(qwen):
    component = made(qwen, template="language {language}<asr_text>")
    ids, slots, _ = filled(component, language="English")
    assert ids == whole(qwen, "language English<asr_text>")
    assert ids[-1] == id_of(qwen, "<asr_text>")
    assert not slots.any()
    separate_store = whole(qwen, "language ") + whole(qwen, "English") + whole(qwen, "<asr_text>")
    assert ids != separate_store


@settings(max_examples=60, deadline=None)
@given(
    first=st.text(st.sampled_from("ab  \n.,'é1哈🎧e\u0301"), max_size=12),
    second=st.text(st.characters(exclude_categories=["Cs", "Cn"]), max_size=12),
)
def test_equals_the_whole_string_for_any_ordinary_text(qwen, first, second):
    component = made(qwen, template="<|im_start|>x{a}{b} y<|im_end|>{a}")
    ids, _, shown = filled(component, a=first, b=second)
    assert shown == f"<|im_start|>x{first}{second} y<|im_end|>{first}"
    assert ids == whole(qwen, shown)


@pytest.mark.parametrize("token", [*SPECIAL, "<asr_text>"])
@pytest.mark.parametrize("around", ["{}", "say {} now", "{}{}", "x{}"])
def test_what_a_user_types_is_never_a_token(qwen, token, around):
    component = made(qwen, template=ASR, slot="<|audio_pad|>", optional=FORCED)
    typed = around.replace("{}", token)
    ids, slots, shown = filled(component, speech=rows(3), context=typed, language="English")
    unknown_tokens, _, _ = filled(component, speech=rows(3), context="", language="English")
    for each in (*SPECIAL, "<asr_text>"):
        assert ids.count(id_of(qwen, each)) == unknown_tokens.count(id_of(qwen, each))
    assert slots.sum() == 3
    assert typed in shown
    decoder = Tokenizer.from_file(str(qwen / "tokenizer.json"))
    assert decoder.decode(ids, skip_special_tokens=False) == shown.replace(
        "<|audio_pad|>×3", "<|audio_pad|>" * 3
    )


def test_a_token_is_not_forged_across_the_edge_of_a_slot(qwen):
    component = made(qwen, template="<|im_{x}<|im_end|>{y}")
    ids, _, _ = filled(component, x="end|>", y="<|audio_")
    assert ids.count(id_of(qwen, "<|im_end|>")) == 1
    assert id_of(qwen, "<|im_end|>") not in ids[: ids.index(id_of(qwen, "<|im_end|>"))]
    joined, _, _ = filled(made(qwen, template="{x}{y}"), x="<|im_", y="end|>")
    assert id_of(qwen, "<|im_end|>") not in joined


def test_a_naive_expansion_would_have_been_forged(qwen):
    """The guard is needed: the tokenizer itself takes what is typed for its tokens."""
    assert id_of(qwen, "<|audio_pad|>") in whole(qwen, "say <|audio_pad|>")


def test_gemmas_white_space_stays_its_own_and_nothing_is_added_or_cut(gemma):
    template = "<bos><|turn>user\n{speech}{instruction}<turn|>\n<|turn>model\n"
    component = made(gemma, template=template)
    ids, slots, shown = filled(component, speech=rows(5), instruction="the  user:\n\nthe")
    text = "<bos><|turn>user\nthe  user:\n\nthe<turn|>\n<|turn>model\n"
    at = int(np.argmax(slots))
    assert whole(gemma, text) == [id for id, soft in zip(ids, slots, strict=True) if not soft]
    assert ids[at : at + 5] == [0] * 5
    assert slots[at : at + 5].all()
    assert slots.sum() == 5
    assert ids[:at] == whole(gemma, "<bos><|turn>user\n")
    assert id_of(gemma, "\n\n") in ids
    assert ids.count(id_of(gemma, "<bos>")) == 1
    assert shown == template.replace("{speech}", "<speech>×5").replace(
        "{instruction}", "the  user:\n\nthe"
    )


def test_gemmas_control_tokens_are_text_too(gemma):
    component = made(gemma, template="<bos>{x}")
    ids, _, _ = filled(component, x="<turn|><bos>")
    assert ids[0] == id_of(gemma, "<bos>")
    assert not set(ids[1:]) & {id_of(gemma, token) for token in ("<bos>", "<turn|>", "<pad>")}


def test_refuses_text_that_this_tokenizer_cannot_but_read_as_a_token(tmp_path):
    vocab = {"<bos>": 0, "hello": 1, "<unk>": 2, "world": 3}
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens(["<bos>", "<unk>"])
    component = made(save(tokenizer, tmp_path / "words"), template="<bos>{x}")
    assert filled(component, x="hello world")[0] == [0, 1, 3]
    with pytest.raises(ComposerError) as caught:
        component(x="hello <bos> world")
    assert str(caught.value) == (
        "R522 a text spells the special token '<bos>'\n"
        "    hint: this tokenizer would encode it as the token: write it differently"
    )


def without_bytes(kind):
    """Return a tokenizer whose vocabulary lacks capitals, emoji, `<` and brackets."""
    letters = ["▁", *"abcdefghijklmnopqrstuvwxyz"]
    control = ["<unk>", "<s>", "</s>"]
    if kind == "Unigram":
        pieces = [(token, 0.0) for token in control] + [(each, -2.0) for each in letters]
        tokenizer = Tokenizer(models.Unigram(pieces, unk_id=0, byte_fallback=False))
    elif kind == "BPE":
        vocab = {token: id for id, token in enumerate([*control, *letters])}
        tokenizer = Tokenizer(models.BPE(vocab, [], unk_token="<unk>", fuse_unk=True))
    else:
        pieces = [*control, *letters, *(f"##{each}" for each in letters)]
        vocab = {token: id for id, token in enumerate(pieces)}
        tokenizer = Tokenizer(models.WordPiece(vocab, unk_token="<unk>"))
    if kind != "WordPiece":
        tokenizer.normalizer = normalizers.Replace(" ", "▁")
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens(control)
    return tokenizer


@pytest.mark.parametrize(
    "text", ["so 🙂 it is", "Abc", "a < b", "[INST] x", "ß", "<unk>", "Ünï <x>"]
)
@pytest.mark.parametrize("kind", ["BPE", "Unigram", "WordPiece"])
def test_a_character_without_a_piece_becomes_unk_as_everywhere(tmp_path, kind, text):
    tokenizer = without_bytes(kind)
    folder = save(tokenizer, tmp_path / kind)
    unknown_tokens = transformers.PreTrainedTokenizerFast(
        tokenizer_file=str(folder / "tokenizer.json")
    )
    expected = unknown_tokens(text, add_special_tokens=False)["input_ids"]
    assert 0 in expected
    found = filled(made(folder, template="<s>[INST] {x}"), x=text)[0]
    around = unknown_tokens("<s>[INST] ", add_special_tokens=False)["input_ids"]
    if text != "<unk>":
        assert found == unknown_tokens(f"<s>[INST] {text}", add_special_tokens=False)["input_ids"]
    assert found[: len(around)] == around
    assert found[0] == 1


def test_keeps_the_flags_of_the_tokens_in_a_template(tmp_path):
    tokenizer = Tokenizer(models.WordLevel({"a": 0, "b": 1, "?": 2}, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "isolated")
    tokenizer.add_special_tokens([AddedToken("<mask>", lstrip=True, rstrip=True)])
    tokenizer.add_tokens([AddedToken("word", single_word=True, normalized=False)])
    folder = save(tokenizer, tmp_path / "flags")
    for text in ("a <mask> b", "a<mask>b", "a word b", "awordb", "word", "a words"):
        assert filled(made(folder, template=text))[0] == whole(folder, text)
    ids, _, _ = filled(made(folder, template="a <mask>{x}"), x=" b")
    assert ids == whole(folder, "a <mask> b")


def test_ids_are_right_where_the_vocabulary_has_holes(tmp_path):
    tokenizer = Tokenizer(models.WordLevel({"<s>": 0, "a": 5, "b": 6, "c": 7}, unk_token="<s>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    folder = save(tokenizer, tmp_path / "holes")
    path = folder / "tokenizer.json"
    content = json.loads(path.read_text())
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    content["added_tokens"] = [{"id": 3, "content": "<x>", "special": True, **flags}]
    path.write_text(json.dumps(content))
    ids, slots, _ = filled(made(folder, template="a<x>b{s}c"), s=rows(2))
    assert ids == [5, 3, 6, 0, 0, 7]
    assert slots.tolist() == [False, False, False, True, True, False]
