"""Recognise a checkpoint's chat template; it is compared as data, and never run."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Any

from composer.core.errors import ComposerError, Place, Problem
from composer.core.suggest import listed
from composer.formats.gguf import SUFFIX as GGUF

from .chat_forms import FORMS, ChatFormat

if TYPE_CHECKING:
    from composer.core.location import Location
    from composer.formats import Headers

BOS = "tokenizer.ggml.bos_token_id"
LARGEST = 1_000_000  # bytes of a template; published ones have at most some ten thousand
_TAG = re.compile(
    r"(?P<before>[ \t]*)\{(?P<kind>[{%#])(?P<left>[-+]?)(?P<inside>.*?)"
    r"(?P<right>[-+]?)[}%#]\}(?P<line>\n?)",
    re.S,
)
_WORD = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|\w+|[^\s\w'"]""", re.S)
_KEY = re.compile(r"\x1f\[\x1f'([A-Za-z_]\w*)'\x1f\]")


def read_form(files: Location, headers: Headers) -> ChatFormat:
    """Return the form of the chat template in a folder; raise ComposerError for another one."""
    text, where = _template(files, headers)
    found = template_digest(text)
    for name, form in FORMS.items():
        if found in form.digests:
            return _with_bos_checked(name, form, files, headers)
    raise ComposerError(
        Problem(
            "W297",
            f"the chat template of {where} is none of the forms that are known as data",
            Place("config.form"),
            hint="it is a program, which is never run: write its turns as first and next, or, if "
            f"you know that it is one of these, name the form: {listed(FORMS)}",
        )
    )


def _template(files: Location, headers: Headers) -> tuple[str, Location]:
    """Return the text of the template and the file that has it."""
    if files.inside.endswith(GGUF):
        return _required(headers.gguf(files).metadata.get("tokenizer.chat_template"), files), files
    file, config = files / "chat_template.jinja", files / "tokenizer_config.json"
    if headers.exists(file):
        with headers.files.open(file) as ranges:
            data = ranges.read(0, min(ranges.size, LARGEST))
        return data.decode("utf-8", "replace"), file
    found = _tokenizer_setting("chat_template", config, headers)
    if isinstance(found, list):
        found = _default_template(found)
    return _required(found, files), config


def _required(template: Any, files: Location) -> str:
    if isinstance(template, str):
        return template
    raise ComposerError(
        Problem(
            "W297",
            f"{files} has no chat template",
            Place("config.form"),
            hint="it would be chat_template.jinja, in tokenizer_config.json, or in a GGUF file's "
            "tokenizer.chat_template: write the turns as first and next, or name the form: "
            f"{listed(FORMS)}",
        )
    )


def _default_template(entries: list[Any]) -> Any:
    """Return the template that is called default, of several with names."""
    for entry in entries:
        if isinstance(entry, dict) and entry.get("name") == "default":
            return entry.get("template")
    return None


def _tokenizer_setting(key: str, config: Location, headers: Headers) -> Any:
    """Return what tokenizer_config.json says, None where it or its file is absent."""
    if not headers.exists(config):
        return None
    return headers.config(config).get(key)


def _with_bos_checked(name: str, form: ChatFormat, files: Location, headers: Headers) -> ChatFormat:
    """Return the form; raise ComposerError where the tokenizer begins a text otherwise."""
    if not form.bos:
        return form
    where, bos = _bos_token(files, headers)
    if bos is not None and bos != form.bos:
        message = f"the form {name} begins with {form.bos!r}, but {where} is {bos!r}"
        hint = "write the turns as first and next"
        raise ComposerError(Problem("W297", message, Place("config.form"), hint=hint))
    return form


def _bos_token(files: Location, headers: Headers) -> tuple[str, Any]:
    """Return where the token stands that begins a text, and its content; None if nowhere."""
    if files.inside.endswith(GGUF):
        metadata = headers.gguf(files).metadata
        number, tokens = metadata.get(BOS), metadata.get("tokenizer.ggml.tokens")
        if not isinstance(number, int) or not isinstance(tokens, list) or number >= len(tokens):
            return f"{BOS} of {files}", None
        return f"{BOS} of {files}", tokens[number]
    config = files / "tokenizer_config.json"
    found = _tokenizer_setting("bos_token", config, headers)
    if isinstance(found, dict):
        found = found.get("content")
    return f"bos_token of {config}", found


def template_digest(template: str) -> str:
    """Return the digest of a template's normal form."""
    return hashlib.sha256(_normal_form(template).encode()).hexdigest()[:32]


def _normal_form(template: str) -> str:
    """Return a template without what changes nothing in it.

    These are comments, white space inside tags, kinds of quotes, `a['b']` for `a.b`, and white
    space around tags as transformers has Jinja drop it.
    """
    template = template.replace("\r\n", "\n")
    parts: list[str] = []
    at, strips = 0, False
    for tag in _TAG.finditer(template):
        text, start = template[at : tag.start("before")], tag.start("before")
        block = tag["kind"] != "{"
        starts_line = start == 0 or template[start - 1] == "\n"
        if not (block and starts_line and tag["left"] != "+"):
            text += tag["before"]
        if strips:
            text = text.lstrip()
        if tag["left"] == "-":
            text = text.rstrip()
        drops_line = block and tag["right"] != "+"
        at = tag.end() if drops_line else tag.start("line")
        strips = tag["right"] == "-"
        if text:
            parts.append(f"\x1d{text}")
        if tag["kind"] != "#":
            parts.append(f"\x1e{tag['kind']}{_expression(tag['inside'])}")
    rest = template[at:]
    rest = rest.lstrip() if strips else rest.removesuffix("\n")
    if rest:
        parts.append(f"\x1d{rest}")
    return "".join(parts)


def _expression(text: str) -> str:
    """Return the words of an expression, each behind a separator."""
    words = "".join(f"\x1f{_quoted(word)}" for word in _WORD.findall(text))
    return _KEY.sub("\x1f.\x1f\\1", words)


def _quoted(word: str) -> str:
    if word[0] not in "'\"":
        return word
    inside = word[1:-1].replace("\\n", "\n").replace("\\'", "'").replace('\\"', '"')
    return f"'{inside}'"
