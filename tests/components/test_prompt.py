"""Prompts against the tokenizer's own reading of the whole string, and against forgers."""

import json
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

from composer.components.text.prompt import Prompt
from composer.core.component import Spec
from composer.core.errors import ComposerError
from composer.core.location import Location
from composer.core.placement import Placement
from composer.formats.reader import Headers

transformers = pytest.importorskip("transformers")

SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
CORPUS = [
    "language English", "language Chinese", "system user assistant", "Transcribe the speech:",
    "the quick brown fox jumps over the lazy dog", "one two three\n\nfour five six", "héllo wörld",
    "<|audio_pad|> asr_text im_start im_end <asr_text>", "{braces} and more braces",
] * 3  # fmt: skip
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|audio_start|>", "<|audio_end|>",
           "<|audio_pad|>")  # fmt: skip
ASR = (
    "<|im_start|>system\n{context}<|im_end|>\n<|im_start|>user\n<|audio_start|>{speech}"
    "<|audio_end|><|im_end|>\n<|im_start|>assistant\n{forced}"
)
FORCED = {"forced": "language {language}<asr_text>"}


def save(tokenizer, folder):
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


@pytest.fixture(scope="module")
def qwen(tmp_path_factory):
    """A byte-level BPE built as Qwen2's is, its control tokens beside the model's vocabulary."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=600, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.add_special_tokens([AddedToken(token, normalized=False) for token in SPECIAL])
    tokenizer.add_tokens([AddedToken("<asr_text>", normalized=False)])
    return save(tokenizer, tmp_path_factory.mktemp("qwen"))


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


def spec(folder, **config):
    files = Location("repo", folder.name, folder.parent)
    return Spec("prompt", Prompt.Config.model_validate(config), files=files)


def made(folder, **config):
    wish = spec(folder, **config)
    return Prompt.load(wish, Prompt.facts(wish, Headers()), Placement())


def test_a_slot_may_have_the_name_of_a_parameter(qwen):
    prompt = made(qwen, template="{self}, {function} and {values}")
    given = prompt(self="a", function="b", values="c")
    assert given["text"] == "a, b and c"


def test_a_tokenizer_that_changed_since_the_check_is_refused(qwen, tmp_path):
    inside = tmp_path / "repo"
    inside.mkdir()
    file = inside / "tokenizer.json"
    file.write_bytes((qwen / "tokenizer.json").read_bytes())
    wish = Spec("prompt", Prompt.Config(template="a"), files=Location("repo", "", inside))
    facts = Prompt.facts(wish, Headers())
    os.utime(file, (1, 1))
    with pytest.raises(ComposerError, match=r"R530 repo/tokenizer\.json: changed after it was"):
        Prompt.load(wish, facts, Placement())
    file.rename(tmp_path / "outside.json")
    file.symlink_to(tmp_path / "outside.json")
    with pytest.raises(ComposerError, match="S400 is a link that leads out of repo"):
        Prompt.load(wish, facts, Placement())


def whole(folder, text):
    """Return the ids that the tokenizer itself gives a whole string."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_truncation()
    return tokenizer.encode(text, add_special_tokens=False).ids


def id_of(folder, token):
    return Tokenizer.from_file(str(folder / "tokenizer.json")).token_to_id(token)


def filled(component, **values):
    given = component(**values)
    assert set(given) == {"ids", "slots", "text"}
    ids, slots = given["ids"], given["slots"]
    assert ids.dtype == np.int64
    assert slots.dtype == np.bool_
    assert ids.shape == slots.shape
    assert ids.ndim == 1
    assert (ids >= 0).all()
    return ids.tolist(), slots, given["text"]


def rows(count):
    return np.zeros((count, 4), np.float32)


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


def test_several_soft_slots_are_marked_in_order(qwen):
    component = made(qwen, template="<|im_start|>{a}<|im_end|>{b}x{c}", slot="<|audio_pad|>")
    ids, slots, shown = filled(component, a=rows(2), b="text", c=rows(3))
    pad = id_of(qwen, "<|audio_pad|>")
    assert slots.tolist() == [False, True, True, *[False] * (len(ids) - 6), True, True, True]
    assert [id for id, soft in zip(ids, slots, strict=True) if soft] == [pad] * 5
    assert shown == "<|im_start|><|audio_pad|>×2<|im_end|>textx<|audio_pad|>×3"


def test_the_authors_own_placeholder_is_no_slot(qwen):
    component = made(qwen, template="<|audio_pad|>{speech}", slot="<|audio_pad|>")
    ids, slots, _ = filled(component, speech=rows(2))
    assert ids == [id_of(qwen, "<|audio_pad|>")] * 3
    assert slots.tolist() == [False, True, True]


def test_a_fragment_is_left_out_unless_all_of_it_is_filled(qwen):
    optional = {"extra": "[{a}|{b}]"}
    component = made(qwen, template="x{extra}y", optional=optional)
    assert filled(component, a="1", b="2")[2] == "x[1|2]y"
    for values in ({}, {"a": "1"}, {"a": "1", "b": ""}, {"a": "1", "b": rows(0)}):
        assert filled(component, **values)[2] == "xy"
    facts = Prompt.facts(spec(qwen, template="{c}x{extra}y{a}", optional=optional), None)
    (signature,) = facts.methods.values()
    assert list(signature.inputs) == ["c", "a", "b"]
    assert signature.optional == {"b"}


def test_braces_are_escaped_by_doubling(qwen):
    component = made(qwen, template='{{"text": "{x}"}}')
    assert filled(component, x="{y}")[2] == '{"text": "{y}"}'


def test_the_ports_come_from_the_template(qwen):
    facts = Prompt.facts(spec(qwen, template=ASR, optional=FORCED), None)
    (signature,) = facts.methods.values()
    assert {key: " | ".join(map(str, ports)) for key, ports in signature.inputs.items()} == {
        "context": "text | _ _",
        "speech": "text | _ _",
        "language": "text | _ _",
    }
    assert {key: str(port) for key, port in signature.returns.items()} == {
        "ids": "i64 T",
        "slots": "bool T",
        "text": "text",
    }
    assert signature.optional == {"language"}


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ({"template": ""}, "the template is empty"),
        (
            {"template": "a {speech b"},
            "'{' at character 3 is not part of a slot: write {name}, or '{{' for the brace itself",
        ),
        ({"template": "a } b"}, "'}' at character 3 is not part of a slot"),
        ({"template": "a {} b"}, "'{' at character 3 is not part of a slot"),
        ({"template": "a {x!r} b"}, "'{' at character 3 is not part of a slot"),
        ({"template": "a {x.y} b"}, "'{' at character 3 is not part of a slot"),
        ({"template": "a\ufdd0b"}, "character 2, U+FDD0, is not allowed in text"),
        ({"template": "a", "optional": {"x": "{y}"}}, "the template has no {x} for the optional"),
        ({"template": "{x}", "optional": {"x": "y"}}, "the optional 'x' has no slot"),
        (
            {"template": "{x}{y}", "optional": {"x": "{y}", "y": "{z}"}},
            "the optional 'x' contains another one, 'y'",
        ),
        ({"template": "{x}", "optional": {"x": "{"}}, "'{' at character 1 is not part of a slot"),
        ({"template": "{x}", "optional": {"x": "{y}\ufdd0"}}, "'x' has U+FDD0"),
        ({"template": "{x}", "slots": "a"}, "Extra inputs are not permitted"),
    ],
)
def test_refuses_a_template_that_cannot_be_read(config, why):
    with pytest.raises(ValidationError) as caught:
        Prompt.Config.model_validate(config)
    assert why in str(caught.value)


def test_refuses_a_slot_that_the_tokenizer_lacks(qwen):
    with pytest.raises(ComposerError) as caught:
        Prompt.facts(spec(qwen, template="{x}", slot="<|audio_pas|>"), Headers())
    assert str(caught.value) == (
        f"config.slot: W253 the slot '<|audio_pas|>' is not an added token of repo/{qwen.name}\n"
        "    hint: did you mean '<|audio_pad|>'?"
    )


def test_warns_of_what_looks_like_a_token_but_is_none(qwen):
    config = {"template": "<|im_start|>a<|im_ende|>{x} <|im_ende|> 1<2>0 {y}"}
    (note,) = Prompt.facts(spec(qwen, **config, optional={"y": "{z}"}), Headers()).notes
    assert str(note) == (
        "config.template: L310 warning: '<|im_ende|>' in the template is plain text: "
        f"repo/{qwen.name} has no such token\n    hint: did you mean '<|im_end|>'?"
    )


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"x": "a\ud800b"}, "R523 'x' has U+D800 at character 2, which is not allowed in text"),
        ({"x": "\ufdd0\ufdd1"}, "R523 'x' has U+FDD0 at character 1, which is not allowed in text"),
        (
            {"x": "a" * 1_000_001},
            "R524 'x' has 1000001 characters; a prompt takes 1000000 at most",
        ),
        ({"x": ""}, "R525 the prompt is empty: every slot is unfilled"),
        (
            {"x": rows(2)},
            "R526 {x} occurs twice in the template, but its rows only once\n"
            "    hint: only a text may occur twice",
        ),
    ],
)
def test_refuses_values_that_make_no_prompt(qwen, values, message):
    component = made(qwen, template="{x}{x}")
    with pytest.raises(ComposerError) as caught:
        component(**values)
    assert str(caught.value) == message
