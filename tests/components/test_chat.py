"""Turns against the whole conversation read at once by the tokenizer itself."""

import json

import numpy as np
import pytest
from pydantic import ValidationError
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers

import composer
from composer.components.text.chat import Chat
from composer.core.call_signature import CALL
from composer.core.component import Spec
from composer.core.errors import ComposerError
from composer.core.location import Location
from composer.core.placement import Placement
from composer.formats.headers import Headers

CONTROL = ["<pad>", "<eos>", "<bos>", "<unk>", "<|turn>", "<turn|>", "<|channel>", "<channel|>"]
FIRST = "<bos>{before}<|turn>user\n{text}<turn|>\n<|turn>model\n"
NEXT = "<turn|>\n<|turn>user\n{text}<turn|>\n<|turn>model\n"
BEFORE = {"before": "<|turn>system\n{system}<turn|>\n"}
REASONING = ["<|channel>", "<channel|>"]


@pytest.fixture(scope="module")
def gemma(tmp_path_factory):
    """A BPE built as Gemma's is: control tokens in the vocabulary, white space as added tokens."""
    bytes_ = [f"<0x{k:02X}>" for k in range(256)]
    letters = "abcdefghijklmnopqrstuvwxyzT:|<>?"
    words = ["▁", "\n", *letters, "▁▁", "\n\n", "th", "the", "us", "er", "mo", "de", "▁the"]
    vocab = {token: id for id, token in enumerate([*CONTROL, *bytes_, *words])}
    merges = [("t", "h"), ("th", "e"), ("u", "s"), ("e", "r"), ("m", "o"), ("▁", "the")]
    tokenizer = Tokenizer(
        models.BPE(vocab, merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True)
    )
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    tokenizer.add_special_tokens(CONTROL)
    tokenizer.add_tokens([AddedToken(token, normalized=False) for token in ("\n\n", "▁▁")])
    folder = tmp_path_factory.mktemp("gemma")
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def spec(folder, **config):
    files = Location("repo", folder.name, folder.parent)
    given = {"first": FIRST, "next": NEXT, "optional": BEFORE, "reasoning": REASONING} | config
    return Spec("turn", Chat.Config.model_validate(given), files=files)


def made(folder, **config):
    component_spec = spec(folder, **config)
    return Chat.load(component_spec, Chat.facts(component_spec, Headers()), Placement())


@pytest.fixture(scope="module")
def chat(gemma):
    return made(gemma)


@pytest.fixture(scope="module")
def read(gemma):
    tokenizer = Tokenizer.from_file(str(gemma / "tokenizer.json"))
    return lambda text: tokenizer.encode(text, add_special_tokens=False).ids


def test_a_conversation_is_what_the_tokenizer_reads_in_one_go(chat, read):
    messages = [("hi the model", "the user  asks"), ("why?\n\n", "so"), ("th", "e")]
    whole, history = "", None
    for asked, answer in messages:
        turn = chat(text=asked, history=history)
        template = NEXT if whole else FIRST.replace("{before}", "")
        whole += template.replace("{text}", asked)
        assert turn["ids"].dtype == np.int64
        assert turn["ids"].tolist() == read(whole)
        assert turn["text"] == template.replace("{text}", asked)
        history = chat.history(turn["ids"], np.array(read(answer)))
        whole += answer
        assert history.dtype == np.int64
        assert history.tolist() == read(whole)


def test_ids_of_the_history_are_kept_exactly(chat):
    """No text comes back as these: they are ids, and stay what the model generated."""
    odd = np.array([270, 11, 270, 300, 4], np.int64)
    turn = chat(text="a", history=odd)
    assert turn["ids"][:5].tolist() == odd.tolist()
    assert chat.history(turn["ids"], odd)[-5:].tolist() == odd.tolist()


def test_an_empty_history_begins_anew(chat):
    begun = chat(text="a")["ids"].tolist()
    assert chat(text="a", history=np.zeros(0, np.int64))["ids"].tolist() == begun
    assert chat(text="a", history=np.array([9]))["ids"].tolist() != begun


def test_a_fragment_stands_in_the_turn_that_names_it(chat, read):
    system = "<bos><|turn>system\nthe us<turn|>\n<|turn>user\na<turn|>\n<|turn>model\n"
    assert chat(text="a", system="the us")["ids"].tolist() == read(system)
    later = chat(text="a", system="the us", history=np.array([9]))
    assert later["ids"].tolist() == [9, *read(NEXT.replace("{text}", "a"))]


@pytest.mark.parametrize("spelt", ["<turn|>", "<|turn>", "<channel|>", "<bos>", "a<eos>b"])
def test_no_text_forges_a_turn(chat, read, spelt):
    control = {id for token in CONTROL for id in read(token)}
    for history in (None, np.array([300])):
        unknown_tokens = [
            id for id in chat(text="b", history=history)["ids"].tolist() if id in control
        ]
        forged = chat(text=spelt, history=history)["ids"].tolist()
        assert [id for id in forged if id in control] == unknown_tokens


def test_reasoning_is_no_part_of_the_history(gemma, chat, read):
    answer = np.array(read("<|channel>the user asks<channel|>the"))
    asked = np.array([2, 3])
    assert chat.history(asked, answer).tolist() == [2, 3, *read("the")]
    assert made(gemma, reasoning=None).history(asked, answer).tolist() == [2, 3, *answer]


def test_its_ports(gemma):
    component_spec = spec(gemma)
    for headers in (Headers(), None):
        methods = Chat.facts(component_spec, headers).methods
        call, history = methods[CALL], methods["history"]
        inputs = {name: " | ".join(map(str, ports)) for name, ports in call.inputs.items()}
        assert inputs == {"system": "text", "text": "text", "history": "i64 H"}
        assert call.optional == {"system", "history"}
        assert {name: str(port) for name, port in call.returns.items()} == {
            "ids": "i64 T", "text": "text"
        }  # fmt: skip
        assert list(history.inputs) == ["asked", "answer"]


def test_a_slot_of_one_template_alone_is_needed_too(gemma):
    call = Chat.facts(spec(gemma, first="{who}: {text}", optional={}), None).methods[CALL]
    assert call.optional == {"history"}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"first": "hi"}, "'first' has no slot: every turn would be the same"),
        ({"next": "<turn|>"}, "'next' has no slot: every turn would be the same"),
        ({"next": "{history}{text}"}, "{history} is the conversation so far: rename the slot"),
        ({"next": "{text"}, "'{' at character 1 is not part of a slot"),
        ({"first": "{text}"}, "no template has {before} for the optional 'before'"),
        ({"first": "\ufdd0{text}"}, "character 1, U+FDD0, is not allowed in text"),
        (
            {"optional": {"before": "\ufdd0{a}"}},
            "the optional 'before' has U+FDD0, which is not allowed in text",
        ),
        (
            {"reasoning": ["<|channel>"]},
            "give two tokens, one that opens and one that closes, not 1",
        ),
    ],
)
def test_wrong_settings(gemma, config, message):
    with pytest.raises(ValidationError) as caught:
        spec(gemma, **config)
    assert message in str(caught.value)


def test_reasoning_tokens_are_checked_against_the_tokenizer(gemma):
    with pytest.raises(ComposerError) as caught:
        Chat.facts(spec(gemma, reasoning=["<|chanel>", "<channel|>"]), Headers())
    (problem,) = caught.value.problems
    assert (problem.code, problem.place.file) == ("W296", "config.reasoning")
    assert problem.message == f"'<|chanel>' of reasoning is not an added token of repo/{gemma.name}"
    assert problem.hint == "did you mean '<|channel>'?"


def test_what_looks_special_and_is_not_is_a_lint(gemma):
    notes = Chat.facts(spec(gemma, next="<|im_end|>{text}", first="<bos>{before}{text}"), Headers())
    assert [(n.code, n.place.file) for n in notes.notes] == [("L310", "config.next")]


@pytest.mark.parametrize(
    ("text", "code"), [("a\ufdd0", "R523"), ("\ud800", "R523"), ("a" * 1_000_001, "R524")]
)
def test_a_text_that_cannot_be_encoded(chat, text, code):
    with pytest.raises(ComposerError) as caught:
        chat(text=text)
    assert caught.value.problems[0].code == code


def test_an_empty_turn(gemma):
    bare = made(gemma, first="{text}", next="{text}", optional={})
    for history in (None, np.array([4])):
        with pytest.raises(ComposerError, match="R525 the prompt is empty"):
            bare(text="", history=history)


def test_a_text_that_the_tokenizer_would_take_for_a_token(tmp_path, gemma):
    """A vocabulary whose merges spell a control token cannot distinguish them."""
    content = json.loads((gemma / "tokenizer.json").read_text())
    content["model"]["merges"] += [["<", "eos>"]]
    content["model"]["vocab"]["eos>"] = 400
    content["model"]["merges"].insert(0, ["e", "os>"])
    content["model"]["vocab"]["os>"] = 401
    content["model"]["merges"].insert(0, ["o", "s>"])
    content["model"]["vocab"]["s>"] = 402
    content["model"]["merges"].insert(0, ["s", ">"])
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(ComposerError, match="R522 a text spells the special token '<eos>'"):
        made(tmp_path)(text="<eos>")


@pytest.mark.parametrize("slots", ["{speech}", "{speech}{speech}"])
def test_rows_are_refused_in_a_conversation(gemma, tmp_path, slots):
    (tmp_path / "bundle.yaml").write_text(f"""
composer: 1
name: talk
sources: {{repo: ./}}
components:
  turn:
    use: text.chat
    files: repo
    config: {{first: "a{slots}{{text}}", next: "b{slots}{{text}}"}}
inputs: {{rows: {{type: tensor, port: f32 N 4}}, text: text}}
graph: {{asked: {{run: turn, with: {{speech: $rows, text: $text}}}}}}
outputs: {{ids: $asked.ids}}
""")
    (found,) = composer.check(tmp_path, sources={"repo": gemma}).problems
    assert str(found).split("bundle.yaml:")[1] == (
        "11:43: W211 $rows is 'f32 N 4' but turn.speech needs 'text'\n"
        "    a conversation is remembered as ids, so its slots take no rows; those of text.prompt "
        "do"
    )
