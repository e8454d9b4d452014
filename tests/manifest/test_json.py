"""JSON is read by its grammar, with places."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from composer.core.errors import ComposerError
from composer.manifest.source import read_document_file
from tests.manifest.trees import ANY, at, error_text, paths, trees

JSON = {
    "trailing comma": (
        '{"a": 1,\n}',
        "b.json:2:1: M106 expected a key, not '}'\n    hint: remove the comma before it",
    ),
    "comment": (
        '{"a": 1 // x\n}',
        "b.json:1:9: M106 JSON has no comments\n    hint: remove it, or write the bundle as YAML",
    ),
    "single quotes": (
        "{'a': 1}",
        "b.json:1:2: M106 expected a key or '}', not '''\n"
        "    hint: JSON text is written in double quotes",
    ),
    "bare word": (
        '{"a": yes}',
        "b.json:1:7: M106 'yes' is not JSON\n    hint: put text in double quotes",
    ),
    "escape": (
        '{"a": "b\\x"}',
        "b.json:1:9: M106 this escape is not JSON\n    hint: write a backslash as \\\\",
    ),
    "line break in text": (
        '{"a": "b\nc"}',
        "b.json:1:7: M106 this string does not end on its line\n    hint: write a line break "
        "as \\n",
    ),
    "unclosed": ('{"a": [1', "b.json:1:9: M106 the file ends where ',' or ']' should be"),
    "no value": ('{"a":', "b.json:1:6: M106 the file ends where a value should be"),
    "two values": ("{} {}", "b.json:1:4: M106 expected the end of the file, not '{'"),
    "octal": ('{"a": 01}', "b.json:1:7: M106 expected a value, not '0'"),
    "wrong bracket": ('{"a": [1}', "b.json:1:9: M106 expected ',' or ']', not '}'"),
    "not finite": (
        '{"a": [NaN, -Infinity, 1e999]}',
        "b.json:1:8: M112 'NaN' is not a finite number\n"
        "b.json:1:13: M112 '-Infinity' is not a finite number\n"
        "b.json:1:24: M112 '1e999' is not a finite number",
    ),
    "duplicate key": (
        '{"a": 1,\n "\\u0061": 2}',
        "b.json:2:2: M104 the key 'a' occurs twice\n"
        "    hint: the first is on line 1; keep one of them",
    ),
    "half a surrogate pair": (
        '{"a": "\\ud800"}',
        "b.json:1:7: M103 the character U+D800 is not text\n    hint: remove it",
    ),
    "empty": (
        " \n",
        "b.json:1:1: M110 the file is empty\n    hint: a bundle begins with `composer: 1`",
    ),
    "a list": (
        "\n[1]",
        "b.json:2:1: M111 a bundle is a mapping of keys to values\n"
        "    hint: a bundle begins with `composer: 1`",
    ),
}


@pytest.mark.parametrize(("text", "message"), JSON.values(), ids=JSON)
def test_what_json_is_refused(written, text, message):
    assert error_text(written(text, "b.json")) == message


@settings(max_examples=60, deadline=None)
@given(data=trees(ANY), indent=st.sampled_from([None, 2]), ascii_only=st.booleans())
def test_json_comes_back_with_its_places(tmp_path_factory, data, indent, ascii_only):
    text = json.dumps(data, indent=indent)
    if not ascii_only:
        text = text.replace("\\u00e9", "é")
    path = tmp_path_factory.getbasetemp() / "property.json"
    path.write_text(text, "utf-8")
    document = read_document_file(path)
    assert document.data == data
    lines = text.split("\n")
    for where, value in paths(data):
        place = document.place(where)
        rest = "\n".join([at(text, place), *lines[place.line :]])
        assert json.JSONDecoder().raw_decode(rest)[0] == value
        if where and isinstance(where[-1], str):
            key = at(text, document.place(where, key=True))
            assert json.JSONDecoder().raw_decode(key)[0] == where[-1]


@settings(max_examples=100, deadline=None)
@given(text=st.text('[]{},:"1e-.\\ntruefalsN \n', max_size=20))
def test_the_json_grammar_is_that_of_json(tmp_path_factory, text):
    """Accept what the standard library does, apart from NaN and doubled keys."""
    path = tmp_path_factory.getbasetemp() / "grammar.json"
    path.write_text('{"x": ' + text + "}", "utf-8")
    try:
        expected = json.loads(path.read_text("utf-8"))
    except ValueError:
        expected = None
    try:
        got = read_document_file(path).data
    except ComposerError as error:
        codes = {problem.code for problem in error.problems}
        assert expected is None or codes <= {"M104", "M112"}
    else:
        assert got == expected
