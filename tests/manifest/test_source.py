"""Files that are no manifest, and encodings of those that are."""

import os
import time
from pathlib import Path

import pytest

from composer.manifest.source import read_document_file
from tests.manifest.trees import error_text

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


def test_the_size_is_reported_with_the_limit(written):
    assert error_text(written(b" " * 262_145)) == (
        "b.yaml: M101 larger than 256 KiB\n    hint: put weights and data into sources"
    )


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
    document = read_document_file(written(content))
    assert document.data == {"é": 1, "b": [2]}
    assert str(document.place(("b", 0))) == "b.yaml:2:5"


def test_a_place_falls_back_to_what_exists(written):
    document = read_document_file(written("a:\n  b: [x, {c: 1}]\n"))
    assert str(document.place(("a", "b", 1, "c"))) == "b.yaml:2:14"
    assert str(document.place(("a", "b", 1, "c"), key=True)) == "b.yaml:2:11"
    assert str(document.place(("a", "b", 7, "c"))) == "b.yaml:2:6"
    assert str(document.place(("a", "x"), key=True)) == "b.yaml:2:3"
    assert str(document.place(())) == "b.yaml:1:1"
