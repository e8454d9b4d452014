"""YAML is read by its core schema, with places, and without what makes it a language."""

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from composer.manifest.source import read_document_file
from tests.manifest.trees import ANY, at, error_text, paths, trees

YAML = {
    "anchor and alias": (
        "a: &x 1\nb: *x\n",
        "b.yaml:1:4: M107 the anchor '&x' is not allowed\n"
        "    hint: remove it and write the value out where it is used\n"
        "b.yaml:2:4: M107 the alias '*x' is not allowed\n"
        "    hint: write the value out, or make it a variant",
    ),
    "merge key": (
        "a:\n  <<: {b: 1}\n",
        "b.yaml:2:3: M107 '<<' merge keys are not allowed\n"
        "    hint: write the keys out where they belong",
    ),
    "python tag": (
        "a: !!python/object/apply:os.system [echo]\n",
        "b.yaml:1:4: M108 the tag '!!python/object/apply:os.system' is not allowed\n"
        "    hint: a bundle is plain data",
    ),
    "own tag": (
        "a: !x 1\n",
        "b.yaml:1:4: M108 the tag '!x' is not allowed\n    hint: a bundle is plain data",
    ),
    "directive": (
        "%YAML 1.2\n---\na: 1\n",
        "b.yaml:1:1: M108 YAML directives are not allowed\n    hint: remove this line",
    ),
    "duplicate key": (
        "a: 1\nb: 2\n'a': 3\n",
        "b.yaml:3:1: M104 the key 'a' occurs twice\n"
        "    hint: the first is on line 1; keep one of them",
    ),
    "two documents": (
        "a: 1\n---\nb: 1\n",
        "b.yaml:2:1: M109 a second document begins here\n    hint: keep one bundle in one file",
    ),
    "empty": (
        "# nothing\n",
        "b.yaml:1:1: M110 the file is empty\n    hint: a bundle begins with `composer: 1`",
    ),
    "text": (
        "hello\n",
        "b.yaml:1:1: M111 a bundle is a mapping of keys to values\n"
        "    hint: a bundle begins with `composer: 1`",
    ),
    "list": (
        "- a\n",
        "b.yaml:1:1: M111 a bundle is a mapping of keys to values\n"
        "    hint: a bundle begins with `composer: 1`",
    ),
    "not finite": (
        "a: [.nan, -.INF, 1e999]\n",
        "b.yaml:1:5: M112 '.nan' is not a finite number\n"
        "    hint: put it in quotes if it is text\n"
        "b.yaml:1:11: M112 '-.INF' is not a finite number\n"
        "    hint: put it in quotes if it is text\n"
        "b.yaml:1:18: M112 '1e999' is not a finite number\n"
        "    hint: put it in quotes if it is text",
    ),
    "65 bits": (
        "a: 9223372036854775808\n",
        "b.yaml:1:4: M112 this number is beyond 64 bits\n"
        "    hint: write it as text, in quotes, if it is a name or an ID",
    ),
    "number as key": (
        "a: {1: x, null: y, true: z}\n",
        "b.yaml:1:5: M113 a key must be text, not the number 1\n"
        "    hint: put the key in quotes\n"
        "b.yaml:1:11: M113 a key must be text, not null\n    hint: put the key in quotes\n"
        "b.yaml:1:20: M113 a key must be text, not true\n    hint: put the key in quotes",
    ),
    "list as key": (
        "? [a, b]\n: c\nd: 1\n",
        "b.yaml:1:3: M113 a key must be text, not a list\n    hint: put the key in quotes",
    ),
    "tab indent": (
        "a:\n\tb: 1\n",
        "b.yaml:2:1: M105 tabs are not allowed here\n    hint: indent with spaces",
    ),
    "tab after colon": (
        "a:\tb\n",
        "b.yaml:1:3: M105 tabs are not allowed here\n    hint: indent with spaces",
    ),
    "colon in text": (
        "a: b: c\n",
        "b.yaml:1:5: M105 ': ' is not allowed here\n"
        "    hint: indent it one level deeper than the line above, or put text with ': ' in quotes",
    ),
    "open quote": ('a: "b\n', "b.yaml:1:4: M105 this quote is not closed\n    hint: close it"),
    "key without colon": (
        "a: 1\nb\nc: 2\n",
        "b.yaml:3:1: M105 a key without ': '\n    hint: write `key: value`, with the space",
    ),
    "at sign": (
        "a: @b\n",
        "b.yaml:1:4: M105 this character cannot begin a value\n    hint: put the value in quotes",
    ),
    "bad utf-8": (
        b"a: \xc3\xa9\nb: \xff",
        "b.yaml:2:4: M103 this byte is not valid UTF-8\n    hint: save the file as UTF-8",
    ),
    "NUL": (
        b"a: \0",
        "b.yaml:1:4: M103 the invisible character U+0000 is not allowed\n"
        "    hint: remove it, or write it as an escape in double quotes",
    ),
    "BEL and a line separator": (
        "a: x\n\x07b: \u2028",
        "b.yaml:2:1: M103 the invisible character U+0007 is not allowed\n"
        "    hint: remove it, or write it as an escape in double quotes\n"
        "b.yaml:2:5: M103 the invisible character U+2028 is not allowed\n"
        "    hint: remove it, or write it as an escape in double quotes",
    ),
    "escaped NUL": (
        'a: "x\\0"\n',
        "b.yaml:1:4: M103 the character U+0000 is not text\n    hint: remove it",
    ),
}


@pytest.mark.usefixtures("loader")
@pytest.mark.parametrize(("text", "message"), YAML.values(), ids=YAML)
def test_what_yaml_is_refused(written, text, message):
    assert error_text(written(text)) == message


@pytest.mark.usefixtures("loader")
@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("yes", "yes"),
        ("on", "on"),
        ("Off", "Off"),
        ("y", "y"),
        ("0o17", 15),
        ("0x1F", 31),
        ("0777", 777),
        ("0b1", "0b1"),
        ("1_000", "1_000"),
        ("12:30:45", "12:30:45"),
        ("2026-01-01", "2026-01-01"),
        ("1.10", 1.1),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("-1.", -1.0),
        ("+12", 12),
        ("-9223372036854775808", -(2**63)),
        ("0" * 100 + "7", 7),
        ("1.2.3", "1.2.3"),
        ("~", None),
        ("", None),
        ("Null", None),
        ("nULL", "nULL"),
        ("True", True),
        ("tRUE", "tRUE"),
        ("'1'", "1"),
        ('"no"', "no"),
        ("<<", "<<"),
        ("=", "="),
        ('"a\\tb\tc"', "a\tb\tc"),
        ("x   # a\tcomment", "x"),
    ],
)
def test_scalars_follow_the_core_schema(written, text, value):
    got = read_document_file(written(f"a: {text}\n")).data["a"]
    assert (got, type(got)) == (value, type(value))


WORDS = st.text(st.characters(exclude_categories=["Cc", "Cs", "Cn", "Zl", "Zp"]), max_size=8)


class Quoting(yaml.SafeDumper):
    """Quote every text, since PyYAML quotes by YAML 1.1."""


Quoting.add_representer(
    str, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"')
)


@settings(max_examples=60, deadline=None)
@given(data=trees(ANY), flow=st.sampled_from([True, False, None]))
def test_yaml_comes_back(tmp_path_factory, data, flow):
    path = tmp_path_factory.getbasetemp() / "property.yaml"
    path.write_text(yaml.dump(data, Dumper=Quoting, default_flow_style=flow), "utf-8")
    assert read_document_file(path).data == data


@settings(max_examples=60, deadline=None)
@given(data=trees(WORDS), flow=st.sampled_from([True, False, None]))
def test_yaml_places_point_at_the_text(tmp_path_factory, data, flow):
    text = yaml.dump(data, Dumper=Quoting, default_flow_style=flow, allow_unicode=True, width=10**6)
    path = tmp_path_factory.getbasetemp() / "places.yaml"
    path.write_text(text, "utf-8")
    document = read_document_file(path)
    for where, value in paths(data):
        found = at(text, document.place(where))
        if isinstance(value, str):
            assert found.startswith('"')
        if where and isinstance(where[-1], str):
            assert at(text, document.place(where, key=True)).startswith('"')
        if not isinstance(value, dict | list):
            written = yaml.dump([value], Dumper=Quoting, allow_unicode=True, width=10**6)
            assert found.startswith(written[2:].rstrip("\n"))
