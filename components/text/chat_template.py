"""Recognise a checkpoint's chat template; it is compared as data, and never run."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

from composer.core.errors import ComposerError, Place, Problem
from composer.core.suggest import listed

from .chat_forms import FORMS, Form

if TYPE_CHECKING:
    from composer.core.location import Location
    from composer.formats import Headers

LARGEST = 1_000_000  # bytes of a template; published ones have at most some ten thousand
_TAG = re.compile(
    r"(?P<before>[ \t]*)\{(?P<kind>[{%#])(?P<left>[-+]?)(?P<inside>.*?)"
    r"(?P<right>[-+]?)[}%#]\}(?P<line>\n?)",
    re.S,
)
_WORD = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|\w+|[^\s\w'"]""", re.S)
_KEY = re.compile(r"\x1f\[\x1f'([A-Za-z_]\w*)'\x1f\]")


def read_form(files: Location, headers: Headers) -> Form:
    """Return the form of the chat template in a folder; raise ComposerError for another one."""
    text, where = _template(files, headers)
    found = digest(text)
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
    file, config = files / "chat_template.jinja", files / "tokenizer_config.json"
    if headers.exists(file):
        with headers.files.open(file) as ranges:
            data = ranges.read(0, min(ranges.size, LARGEST))
        return data.decode("utf-8", "replace"), file
    found = headers.config(config).get("chat_template") if headers.exists(config) else None
    if isinstance(found, list):
        named = [each for each in found if isinstance(each, dict)]
        found = next((e.get("template") for e in named if e.get("name") == "default"), None)
    if not isinstance(found, str):
        raise ComposerError(
            Problem(
                "W297",
                f"{files} has no chat template",
                Place("config.form"),
                hint="it would be chat_template.jinja or in tokenizer_config.json: write the turns "
                f"as first and next, or name the form: {listed(FORMS)}",
            )
        )
    return found, config


def _with_bos_checked(name: str, form: Form, files: Location, headers: Headers) -> Form:
    """Return the form; raise ComposerError where the tokenizer begins a text otherwise."""
    config = files / "tokenizer_config.json"
    bos = headers.config(config).get("bos_token") if form.bos and headers.exists(config) else None
    bos = bos.get("content") if isinstance(bos, dict) else bos
    if bos is not None and bos != form.bos:
        message = f"the form {name} begins with {form.bos!r}, but bos_token of {config} is {bos!r}"
        hint = "write the turns as first and next"
        raise ComposerError(Problem("W297", message, Place("config.form"), hint=hint))
    return form


def digest(template: str) -> str:
    """Return the digest of a template's normal form."""
    return hashlib.sha256(normal_form(template).encode()).hexdigest()[:32]


def normal_form(template: str) -> str:
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
        text = text.lstrip() if strips else text
        text = text.rstrip() if tag["left"] == "-" else text
        at = tag.end() if block and tag["right"] != "+" else tag.end("line") - len(tag["line"])
        strips = tag["right"] == "-"
        parts += [f"\x1d{text}"] if text else []
        if tag["kind"] != "#":
            parts.append(f"\x1e{tag['kind']}{_expression(tag['inside'])}")
    rest = template[at:]
    rest = rest.lstrip() if strips else rest.removesuffix("\n")
    return "".join([*parts, f"\x1d{rest}"] if rest else parts)


def _expression(text: str) -> str:
    """Return the words of an expression, each behind a separator."""
    words = "".join(f"\x1f{_quoted(word)}" for word in _WORD.findall(text))
    return _KEY.sub("\x1f.\x1f\\1", words)


def _quoted(word: str) -> str:
    if word[0] not in "'\"":
        return word
    inside = word[1:-1].replace("\\n", "\n").replace("\\'", "'").replace('\\"', '"')
    return f"'{inside}'"
