import json
import os
import time
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from composer.core.errors import ComposerError
from composer.manifest import yaml_events
from composer.manifest.source import read

LOADERS = [yaml.SafeLoader] + ([yaml.CSafeLoader] if yaml.__with_libyaml__ else [])


@pytest.fixture(params=LOADERS, ids=lambda loader: loader.__name__)
def loader(request, monkeypatch):
    monkeypatch.setattr(yaml_events, "LOADER", request.param)


@pytest.fixture
def written(tmp_path, monkeypatch):
    """Write a manifest into the current folder, so that messages hold no long path."""
    monkeypatch.chdir(tmp_path)

    def write(content, name="b.yaml"):
        path = Path(name)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def error_text(path):
    with pytest.raises(ComposerError) as caught:
        read(path)
    return str(caught.value)


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


HOSTILE = {
    "many brackets": ("b.yaml", b"[" * 20_000, "M102"),
    "deep mapping": ("b.yaml", b"\n".join(b" " * i + b"a:" for i in range(700)), "M102"),
    "compact nesting": ("b.yaml", b"- " * 100_000, "M102"),
    "deep keys": ("b.yaml", b"{? " * 5_000, "M113"),
    "long number": ("b.yaml", b"a: " + b"9" * 100_000, "M112"),
    "many keys": ("b.yaml", b"".join(b"k%d: 1\n" % i for i in range(20_000)), "M101"),
    "many duplicates": ("b.yaml", b"a: 1\n" * 40_000, "M104"),
    "many lines": ("b.yaml", b"a\n" * 100_000, "M111"),
    "big file": ("b.yaml", b"a: " + b"x" * 262_144, "M101"),
    "tags": ("b.yaml", b"!" * 200_000, "M108"),
    "aliases": ("b.yaml", b"a: [" + b"*a ," * 50_000, "M107"),
    "deep json": ("b.json", b"[" * 200_000, "M102"),
    "open json text": ("b.json", b'{"' + b"\\" * 200_000, "M106"),
}


@pytest.mark.usefixtures("loader")
@pytest.mark.parametrize(("name", "content", "code"), HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_file_is_refused_at_once(written, name, content, code):
    path = written(content, name)
    start = time.perf_counter()
    message = error_text(path)
    assert f" {code} " in message
    assert message.count("\n") < 60
    assert time.perf_counter() - start < 3


def test_what_is_no_file_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")
    assert error_text(Path("none.yaml")) == "none.yaml: M100 the file does not exist"
    assert error_text(Path("pipe")) == "pipe: M100 this is not a regular file"
    assert error_text(Path(".")) == ".: M100 this is not a regular file"
    assert error_text(Path("a\0b")).startswith("a\\0b: M100 cannot be read")
    assert error_text(Path("x" * 300)).endswith("M100 cannot be read: File name too long")


def test_the_size_is_told_with_the_limit(written):
    assert error_text(written(b" " * 262_145)) == (
        "b.yaml: M101 larger than 256 KiB\n    hint: put weights and data into sources"
    )


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
    got = read(written(f"a: {text}\n")).data["a"]
    assert (got, type(got)) == (value, type(value))


@pytest.mark.parametrize(
    "content",
    [
        "é: 1\nb: [2]\n".encode("utf-8-sig"),
        "é: 1\nb: [2]\n".encode("utf-16"),
        b"\xfe\xff" + "é: 1\nb: [2]\n".encode("utf-16-be"),
        "é: 1\r\nb: [2]\r\n".encode(),
    ],
)
def test_encodings_and_line_ends(written, content):
    document = read(written(content))
    assert document.data == {"é": 1, "b": [2]}
    assert str(document.place(("b", 0))) == "b.yaml:2:5"


def test_a_place_falls_back_to_what_exists(written):
    document = read(written("a:\n  b: [x, {c: 1}]\n"))
    assert str(document.place(("a", "b", 1, "c"))) == "b.yaml:2:14"
    assert str(document.place(("a", "b", 1, "c"), key=True)) == "b.yaml:2:11"
    assert str(document.place(("a", "b", 7, "c"))) == "b.yaml:2:6"
    assert str(document.place(("a", "x"), key=True)) == "b.yaml:2:3"
    assert str(document.place(())) == "b.yaml:1:1"


WORDS = st.text(st.characters(exclude_categories=["Cc", "Cs", "Cn", "Zl", "Zp"]), max_size=8)
ANY = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)


def trees(words):
    leaves = (
        st.none()
        | st.booleans()
        | st.integers(-(2**63), 2**63 - 1)
        | st.floats(allow_nan=False, allow_infinity=False)
        | words
    )
    nested = st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
        max_leaves=12,
    )
    return st.dictionaries(words, nested, min_size=1, max_size=4)


def paths(value, path=()):
    """Yield the path of every value."""
    yield path, value
    for key, child in (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    ):
        yield from paths(child, (*path, key))


class Quoting(yaml.SafeDumper):
    """Quote every text, since PyYAML quotes by YAML 1.1."""


Quoting.add_representer(
    str, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"')
)


def at(text, place):
    return text.split("\n")[place.line - 1][place.column - 1 :]


@settings(max_examples=60, deadline=None)
@given(data=trees(ANY), indent=st.sampled_from([None, 2]), ascii_only=st.booleans())
def test_json_comes_back_with_its_places(tmp_path_factory, data, indent, ascii_only):
    text = json.dumps(data, indent=indent)
    if not ascii_only:
        text = text.replace("\\u00e9", "é")
    path = tmp_path_factory.getbasetemp() / "property.json"
    path.write_text(text, "utf-8")
    document = read(path)
    assert document.data == data
    lines = text.split("\n")
    for where, value in paths(data):
        place = document.place(where)
        rest = "\n".join([at(text, place), *lines[place.line :]])
        assert json.JSONDecoder().raw_decode(rest)[0] == value
        if where and isinstance(where[-1], str):
            key = at(text, document.place(where, key=True))
            assert json.JSONDecoder().raw_decode(key)[0] == where[-1]


@settings(max_examples=60, deadline=None)
@given(data=trees(ANY), flow=st.sampled_from([True, False, None]))
def test_yaml_comes_back(tmp_path_factory, data, flow):
    path = tmp_path_factory.getbasetemp() / "property.yaml"
    path.write_text(yaml.dump(data, Dumper=Quoting, default_flow_style=flow), "utf-8")
    assert read(path).data == data


@settings(max_examples=60, deadline=None)
@given(data=trees(WORDS), flow=st.sampled_from([True, False, None]))
def test_yaml_places_point_at_the_text(tmp_path_factory, data, flow):
    text = yaml.dump(data, Dumper=Quoting, default_flow_style=flow, allow_unicode=True, width=10**6)
    path = tmp_path_factory.getbasetemp() / "places.yaml"
    path.write_text(text, "utf-8")
    document = read(path)
    for where, value in paths(data):
        found = at(text, document.place(where))
        if isinstance(value, str):
            assert found.startswith('"')
        if where and isinstance(where[-1], str):
            assert at(text, document.place(where, key=True)).startswith('"')
        if not isinstance(value, dict | list):
            written = yaml.dump([value], Dumper=Quoting, allow_unicode=True, width=10**6)
            assert found.startswith(written[2:].rstrip("\n"))


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
        got = read(path).data
    except ComposerError as error:
        codes = {problem.code for problem in error.problems}
        assert expected is None or codes <= {"M104", "M112"}
    else:
        assert got == expected
