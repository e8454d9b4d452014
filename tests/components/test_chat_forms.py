"""Known forms of conversations against transformers' apply_chat_template, id by id."""

import json
import re
from typing import get_args

import numpy as np
import pytest
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from composer.components.text.chat import Chat
from composer.components.text.chat_forms import CHECKPOINT, FORMS, FormName
from composer.components.text.chat_template import template_digest
from composer.core.call_signature import CALL
from composer.core.component import Spec
from composer.core.errors import ComposerError
from composer.core.location import Location
from composer.core.placement import Placement
from composer.formats.headers import Headers
from tests.components.chat_templates import PUBLISHED, RESTATED

SPECIAL = (
    "<pad> </s> <s> <bos> <|begin_of_text|> <|im_start|> <|im_end|> <|start_header_id|> "
    "<|end_header_id|> <|eot_id|> <start_of_turn> <end_of_turn> <|turn> <turn|> <|channel> "
    "<channel|> <think> </think> <|user|> <|system|> <|assistant|> <|end|>"
).split()
TALK = [("Hi there", "Hello, you."), ("  why\n", "Because.\nSo."), ("and then?", "Then")]
ALL = [(name, text) for name, texts in PUBLISHED.items() for text in texts]
NAMED = [*((name, texts[0]) for name, texts in PUBLISHED.items()), *RESTATED.items()]
NAMES = [name for name, _ in NAMED]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Write a byte-level BPE with the control tokens of all the forms."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    newline = "\u010a"
    vocab = {token: id for id, token in enumerate([*SPECIAL, *letters, newline * 2, "th", "the"])}
    tokenizer = Tokenizer(models.BPE(vocab, [(newline, newline), ("t", "h"), ("th", "e")]))
    # As Llama 3 and Qwen do, line breaks stay together whatever follows.
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(r"[\r\n]+|[^\S\r\n]*\w+|[^\S\r\n]+|[^\s\w]+"), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])  # fmt: skip
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(SPECIAL)
    path = tmp_path_factory.mktemp("chat")
    tokenizer.save(str(path / "tokenizer.json"))
    return path


def reference(folder, name, template):
    return PreTrainedTokenizerFast(
        tokenizer_file=str(folder / "tokenizer.json"),
        chat_template=template,
        bos_token=FORMS[name].bos or None,
        eos_token="</s>",
    )


def chat_of(folder, **config):
    files = Location("repo", folder.name, folder.parent)
    spec = Spec("talk", Chat.Config.model_validate(config), files=files)
    return Chat.load(spec, Chat.facts(spec, Headers()), Placement())


def agrees(chat, tokenizer, system=None, thinking=None, reasoning=""):
    """Return whether the ids before each answer are transformers', over several turns."""
    messages = [] if system is None else [{"role": "system", "content": system}]
    more = {} if system is None else {"system": system}
    options = {} if thinking is None else {"enable_thinking": thinking}
    history, same = None, []
    for text, answer in TALK:
        messages.append({"role": "user", "content": text})
        encoded = tokenizer.apply_chat_template(messages, add_generation_prompt=True, **options)
        found = chat(text=text, history=history, **more)["ids"]
        same.append(found.tolist() == list(encoded["input_ids"]))
        answered = tokenizer.encode(reasoning + answer, add_special_tokens=False)
        history = chat.history(found, np.array(answered, np.int64))
        messages.append({"role": "assistant", "content": reasoning + answer})
    return all(same)


@pytest.mark.parametrize(("name", "template"), NAMED, ids=NAMES)
def test_a_named_form_is_the_template(folder, name, template):
    chat, tokenizer = chat_of(folder, form=name), reference(folder, name, template)
    assert agrees(chat, tokenizer)
    if "system" in chat.turns.templates["first"].inputs:
        assert agrees(chat, tokenizer, "Be  brief,\nplease.")
    if "system" in FORMS[name].trimmed:
        assert agrees(chat, tokenizer, " Be brief.\n")


@pytest.mark.parametrize(("name", "template"), NAMED, ids=NAMES)
def test_every_other_form_differs(folder, name, template):
    tokenizer = reference(folder, name, template)
    same = [other for other in FORMS if agrees(chat_of(folder, form=other), tokenizer)]
    # Without a system turn and without reasoning these mean the same.
    alike = [{"chatml", "qwen3"}, {"gemma2", "gemma3"}]
    assert set(same) == next((each for each in alike if name in each), {name})


def test_a_system_turn_or_reasoning_distinguishes_forms(folder):
    qwen3 = reference(folder, "qwen3", RESTATED["qwen3"])
    gemma3 = reference(folder, "gemma3", RESTATED["gemma3"])
    reasoning = "<think>\nthe\n</think>\n\n"
    assert not agrees(chat_of(folder, form="chatml"), qwen3, reasoning=reasoning)
    assert agrees(chat_of(folder, form="qwen3"), qwen3, reasoning=reasoning)
    assert agrees(chat_of(folder, form="gemma3"), gemma3, "the")
    assert "system" not in chat_of(folder, form="gemma2").turns.templates["first"].inputs


def test_reasoning_is_not_part_of_the_history(folder):
    gemma4 = reference(folder, "gemma4", RESTATED["gemma4"])
    assert agrees(chat_of(folder, form="gemma4"), gemma4, reasoning="<|channel>\nthe\n<channel|>")


def test_a_form_without_thinking(folder):
    tokenizer = reference(folder, "qwen3", RESTATED["qwen3"])
    assert agrees(chat_of(folder, form="qwen3", thinking=False), tokenizer, "the", thinking=False)
    assert agrees(chat_of(folder, form="qwen3", thinking=True), tokenizer, "the", thinking=True)
    assert not agrees(chat_of(folder, form="qwen3"), tokenizer, "the", thinking=False)


def with_template(folder, tmp_path, text, as_file=False, **more):
    (tmp_path / "tokenizer.json").write_bytes((folder / "tokenizer.json").read_bytes())
    if as_file:
        (tmp_path / "chat_template.jinja").write_text(text)
        text = "{{ 'another, which the file replaces' }}"
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": text, **more}))
    return tmp_path


@pytest.mark.parametrize(("name", "template"), ALL, ids=[name for name, _ in ALL])
@pytest.mark.parametrize("as_file", [True, False])
def test_a_template_is_read_from_the_checkpoint(folder, tmp_path, name, template, as_file):
    chat = chat_of(with_template(folder, tmp_path, template, as_file), form=CHECKPOINT)
    assert chat.turns.first == FORMS[name].first
    assert agrees(chat, reference(folder, name, template))


def test_what_changes_nothing_in_a_template():
    (text,) = PUBLISHED["gemma2"]
    for same in (
        text.replace("['role']", ".role").replace("['content']", '["content"]'),
        text.replace("{% ", "{%- ").replace(" %}", "-%}\n   "),
        text.replace("%}", "%}\n").replace("%}\n{%", "%}\n    {%"),
        "{# a comment #}" + text,
        text.replace("\n", "\\n"),
        text.replace("{%", "{%  ") + "\n",
    ):
        assert template_digest(same) == template_digest(text), same


@pytest.mark.parametrize(
    ("old", "new"),
    [(" | trim", ""), ("'user'", "'model'"), ("% 2", "% 3"), ("\n'", "'"), ("{% if", " {% if"),
     ("<end_of_turn>", "<eos>"), ("{{ bos_token }}", ""), ("role = 'model'", "role = 'modell'")],
)  # fmt: skip
def test_what_changes_something_is_another_template(folder, tmp_path, old, new):
    (text,) = PUBLISHED["gemma2"]
    assert old in text
    with pytest.raises(ComposerError, match="W297"):
        chat_of(with_template(folder, tmp_path, text.replace(old, new)), form=CHECKPOINT)


def refused(folder):
    with pytest.raises(ComposerError) as error:
        chat_of(folder, form=CHECKPOINT)
    (problem,) = error.value.problems
    return str(problem)


def test_an_unknown_template_is_refused_with_what_to_write(folder, tmp_path):
    where = with_template(folder, tmp_path, "{{ messages }}")
    assert refused(where) == (
        f"config.form: W297 the chat template of repo/{where.name}/tokenizer_config.json is none "
        "of the forms that are known as data\n"
        "    hint: it is a program, which is never run: write its turns as first and next, or, if "
        "you know that it is one of these, name the form: " + ", ".join(FORMS)
    )


def test_no_template_and_another_beginning(folder, tmp_path):
    assert "has no chat template" in refused(folder)
    where = with_template(folder, tmp_path, PUBLISHED["gemma2"][0], bos_token="<s>")
    assert re.search(r"begins with '<bos>', but bos_token of .* is '<s>'", refused(where))


def test_a_list_of_templates_has_a_default(folder, tmp_path):
    (text,) = PUBLISHED["qwen2"]
    named = [{"name": "tools", "template": "{{ tools }}"}, {"name": "default", "template": text}]
    where = with_template(folder, tmp_path, named)
    assert chat_of(where, form=CHECKPOINT).turns.defaults


def test_every_form_has_a_name_and_its_own_turns():
    assert set(get_args(FormName)) == {CHECKPOINT, *FORMS}
    turns = [(form.first, form.next, form.answer, form.defaults) for form in FORMS.values()]
    assert len({str(each) for each in turns}) == len(turns)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({}, "'first' is missing: give first and next, or a form"),
        ({"first": "{text}"}, "'next' is missing"),
        ({"form": "chatml", "first": "{text}"}, "the form has its own 'first'"),
        ({"form": "chatml", "thinking": False}, "the form chatml knows no thinking"),
        ({"form": "gemma4", "thinking": True}, "the form gemma4 is known without thinking alone"),
        ({"first": "{a}", "next": "{a}", "thinking": True}, "thinking belongs to a form"),
    ],
)
def test_settings_that_contradict_each_other(config, message):
    with pytest.raises(ValueError, match=message):
        Chat.Config.model_validate(config)


def test_without_its_files_the_form_of_a_checkpoint_is_unknown():
    assert Chat.facts(Spec("talk", Chat.Config(form=CHECKPOINT)), None).unknown
    known = Chat.facts(Spec("talk", Chat.Config(form="qwen2")), None)
    assert known.methods[CALL].optional >= {"system", "history"}
