import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from composer.formats.strictjson import parse_object, too_deep
from tests.formats.making import HERE, refusal

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**18), 10**18) | st.text('ab"\\[]{}é', max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text('"\\{a', max_size=3), inner, max_size=3)
    ),
)


def depth(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value
    return 1 + max(map(depth, inner), default=0) if isinstance(value, dict | list) else 0


@given(VALUES, st.integers(1, 6), st.booleans())
def test_depth_is_that_of_the_value(value: Any, limit: int, plain: bool) -> None:
    assert too_deep(json.dumps(value, ensure_ascii=plain).encode(), limit) is (depth(value) > limit)


@given(VALUES)
def test_a_sound_object_is_returned(value: Any) -> None:
    assert parse_object(HERE, json.dumps({"a": value}).encode(), depth=99) == {"a": value}


BAD = {
    "syntax": (
        b'{"a": 1,\n "b" 2}',
        "repo/m:2:6: S410 the file is not JSON: Expecting ':' delimiter",
    ),
    "empty": (b"", "repo/m:1:1: S410 the file is not JSON: Expecting value"),
    "list": (b"[]", "repo/m: S410 the file is a list; expected an object"),
    "null": (b"null", "repo/m: S410 the file is null; expected an object"),
    "not UTF-8": (b'{"a": "\xff"}', "repo/m: S410 the file has text that is not UTF-8"),
    "surrogate": (
        b'{"a": "\\udc00"}',
        "repo/m: S410 the file has text that is half a surrogate pair",
    ),
    "duplicates": (
        b'{"a": 1, "a": 2, "b": {"c": 1, "c": 2}}',
        "repo/m: S411 the file has the key 'c' twice\nrepo/m: S411 the file has the key 'a' twice",
    ),
    "deep": (
        b'{"a":' * 33 + b"1" + b"}" * 33,
        "repo/m: S412 the file is nested more than 32 levels deep",
    ),
    "unclosed": (b"[" * 400_000, "repo/m: S412 the file is nested more than 32 levels deep"),
    "wide": (b"[" + b"[]," * 400_000, "repo/m: S412 the file has more than 500000 values"),
    "infinity": (
        b'{"a": -Infinity}',
        "repo/m: S413 the file has the number -Infinity, which is not valid JSON",
    ),
    "overflow": (
        b'{"a": 1e999}',
        "repo/m: S413 the file has the number 1e999, which is not valid JSON",
    ),
    "digits": (
        b'{"a": ' + b"1" * 41 + b"}",
        "repo/m: S413 the file has the number 11111111111111111111... (41 digits), "
        "which is not valid JSON",
    ),
}


@pytest.mark.parametrize(("data", "text"), BAD.values(), ids=BAD)
def test_bad_json_is_refused(data: bytes, text: str) -> None:
    assert refusal(lambda: parse_object(HERE, data)) == text


def test_a_surrogate_pair_is_text() -> None:
    assert parse_object(HERE, b'{"a": "\\ud83d\\ude00"}') == {"a": "😀"}


@given(st.binary(max_size=60))
def test_noise_never_crashes(data: bytes) -> None:
    refusal(lambda: parse_object(HERE, data.replace(b"{", b"[")))
