"""Flags of added tokens, against the tokenizer's own reading of the whole string."""

import itertools
import json

import numpy as np
import pytest
from tokenizers import (
    AddedToken,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

from composer.components.text.prompt import Prompt
from composer.formats import Headers
from tests.components.prompt.tokenizers import CORPUS, filled, made, rows, save, spec

FLAGS = ("normalized", "lstrip", "rstrip", "single_word")
NORMALIZERS = {
    "none": None,
    "nfkc": normalizers.NFKC(),
    "strip": normalizers.Strip(),
    "spaces": normalizers.Replace(" ", "▁"),
    "both": normalizers.Sequence([normalizers.NFC(), normalizers.Replace(" ", "▁")]),
}
TEXTS = (
    "Hello <|x|> world", "<|x|>Hello", "Hello<|x|>", "a <|x|>  b", "<|x|><|x|> hi",
    "<|x|>\n\nHi  you\n", " <|x|> ", "x<|x|>y",
    "<|x", "fi<|x|>ﬁne", "a <|x|> <foo> b", "two  <foo>",
)  # fmt: skip


def write(folder, normalizer, added, byte_fallback=False):
    tokenizer = Tokenizer(models.BPE(unk_token=None, byte_fallback=byte_fallback))
    if normalizer:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    for special in (True, False):
        tokens = [token for token in added if token.special == special]
        (tokenizer.add_special_tokens if special else tokenizer.add_tokens)(tokens)
    return save(tokenizer, folder)


def own_ids(folder, text):
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    return tokenizer.encode(text, add_special_tokens=False).ids


@pytest.mark.parametrize("name", NORMALIZERS)
@pytest.mark.parametrize("special", [True, False])
def test_a_token_is_found_and_strips_as_its_flags_say(tmp_path, name, special):
    for number, values in enumerate(itertools.product([True, False], repeat=len(FLAGS))):
        flags = dict(zip(FLAGS, values, strict=True))
        tokens = [AddedToken(each, special=special, **flags) for each in ("<|x|>", "<foo>")]
        folder = write(tmp_path / str(number), NORMALIZERS[name], tokens)
        for text in TEXTS:
            ids, _, _ = filled(made(folder, template=text))
            assert ids == own_ids(folder, text), (flags, text)


@pytest.mark.parametrize("flags", [{}, {"lstrip": True}, {"rstrip": True}], ids=str)
def test_soft_rows_strip_what_their_token_strips(tmp_path, flags):
    token = AddedToken("<|audio|>", special=True, normalized=False, **flags)
    folder = write(tmp_path, None, [token])
    prompt = made(folder, template="a  {speech}  b", slot="<|audio|>")
    ids, slots, _ = filled(prompt, speech=rows(3))
    want = own_ids(folder, "a  " + "<|audio|>" * 3 + "  b")
    assert ids == want
    pad = own_ids(folder, "<|audio|>")[0]
    assert np.array_equal(slots, np.array(want) == pad)


def test_bytes_that_are_special_tokens_are_still_those_of_a_text(tmp_path):
    """A character without a piece becomes its bytes: no text spelled a special token."""
    bytes_ = [f"<0x{number:02X}>" for number in range(256)]
    vocab = {token: id for id, token in enumerate(["<unk>", *bytes_, "a", "▁"])}
    tokenizer = Tokenizer(models.BPE(vocab, [], unk_token="<unk>", byte_fallback=True))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.add_special_tokens(["<unk>", *bytes_])
    folder = save(tokenizer, tmp_path)
    ids, _, _ = filled(made(folder, template="a {text}"), text="🎧a")
    assert ids == own_ids(folder, "a 🎧a")
    assert [vocab[f"<0x{byte:02X}>"] for byte in "🎧".encode()] == ids[2:6]


@pytest.mark.parametrize(
    ("normalizer", "token", "warned"),
    [
        (normalizers.Prepend("▁"), AddedToken("<s>", normalized=True), True),
        (normalizers.Lowercase(), AddedToken("[INST]", normalized=True), True),
        (normalizers.BertNormalizer(), AddedToken("<s>", normalized=True), True),
        (normalizers.Lowercase(), AddedToken("<s>", normalized=True), False),
        (normalizers.Prepend("▁"), AddedToken("<s>", normalized=False), False),
        (normalizers.Replace(" ", "▁"), AddedToken("<s>", normalized=True), False),
        (None, AddedToken("<s>", normalized=True), False),
    ],
)
def test_a_token_that_the_normalizer_changes_is_warned_of(tmp_path, normalizer, token, warned):
    folder = write(tmp_path, normalizer, [token])
    facts = Prompt.facts(spec(folder, template=f"{token.content}Hi"), Headers())
    found = [str(note) for note in facts.notes if note.code == "L338"]
    assert len(found) == warned
    number = json.loads((folder / "tokenizer.json").read_text())["added_tokens"][-1]["id"]
    for text in found:
        assert f"{token.content!r} in the template is the token {number} wherever it stands" in text


BOS = processors.TemplateProcessing("<s> $A", None, [("<s>", 400)])
PROCESSORS = {
    "template": (BOS, "<s>"),
    "sequence": (processors.Sequence([processors.ByteLevel(trim_offsets=False), BOS]), "<s>"),
    "roberta": (processors.RobertaProcessing(("</s>", 401), ("<s>", 400)), "<s>"),
    "end": (processors.TemplateProcessing("$A </s>", None, [("</s>", 401)]), ""),
    "bytes": (processors.ByteLevel(trim_offsets=False), ""),
    "none": (None, ""),
}


@pytest.mark.parametrize("name", PROCESSORS)
def test_a_template_without_the_token_that_begins_every_text_is_warned_of(tmp_path, name):
    processor, first = PROCESSORS[name]
    folder = write(
        tmp_path, None, [AddedToken("<s>", special=True), AddedToken("</s>", special=True)]
    )
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    if processor:
        tokenizer.post_processor = processor
    save(tokenizer, folder)
    plain, whole = (
        tokenizer.encode("Hi", add_special_tokens=added).tokens for added in (False, True)
    )
    assert whole[: whole.index(plain[0])] == [first] * bool(first)
    for template, expected in (
        ("Hi {text}", bool(first)),
        ("<s>Hi {text}", False),
        ("{text}", False),
    ):
        notes = Prompt.facts(spec(folder, template=template), Headers()).notes
        found = [str(note) for note in notes if note.code == "L340"]
        assert len(found) == expected
        assert all(
            f"begins every text with '{first}', and the template does not" in e for e in found
        )
