import pytest
from hypothesis import given
from hypothesis import strategies as st

from composer.core.ports import DTYPES, KINDS, Port, item_bytes, parse_port, parse_ports

NAMES = st.from_regex(r"[A-Z][A-Za-z0-9]{0,3}", fullmatch=True)
PORTS = st.builds(
    Port,
    dtype=st.sampled_from(DTYPES),
    dims=st.lists(st.one_of(NAMES, st.just("_"), st.integers(0, 9999)), max_size=5).map(tuple),
    space=st.none() | st.from_regex(r"[a-z][a-z_.]{0,8}", fullmatch=True),
    marks=st.lists(NAMES, max_size=2).map(tuple),
)


@pytest.mark.parametrize(
    ("text", "port"),
    [
        ("i64 T", Port(dtype="i64", dims=("T",))),
        ("T D @embed", Port(dims=("T", "D"), space="embed")),
        ("f32 M 3000", Port(dtype="f32", dims=("M", 3000))),
        ("bf16", Port(dtype="bf16")),
        ("_ _", Port(dims=("_", "_"))),
        ("text", Port("text")),
        ("audio 16000", Port("audio", dims=(16000,))),
        ("T D @S", Port(dims=("T", "D"), space="S")),
        ("bool T #speech", Port(dtype="bool", dims=("T",), marks=("speech",))),
        ("bool T #speech+b_1", Port(dtype="bool", dims=("T",), marks=("speech", "b_1"))),
    ],
)
def test_ports(text, port):
    assert parse_port(text) == port
    assert str(port) == text


@given(PORTS)
def test_a_port_reads_as_it_is_written(port):
    assert parse_port(str(port)) == port


def test_alternatives():
    assert parse_ports("text | _ _") == (Port("text"), Port(dims=("_", "_")))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a port is 'dtype dims @space', such as 'f32 T D', or text, audio, image"),
        ("i64 -1", "'-1' in 'i64 -1' is neither a number, a symbol nor '_'"),
        ("f32 T*2", "'T*2' in 'f32 T*2' is neither a number, a symbol nor '_'"),
        ("T D @", "'@' in 'T D @' is not a space: write a name after '@'"),
        ("bool T #", "'#' in 'bool T #' marks nothing: name inputs after '#'"),
        ("bool T #a+", "'#a+' in 'bool T #a+' marks nothing: name inputs after '#'"),
        ("@embed T", "'@embed' in '@embed T' is neither a number, a symbol nor '_'"),
    ],
)
def test_what_is_no_port(text, message):
    with pytest.raises(ValueError, match=r".") as caught:
        parse_port(text)
    assert str(caught.value) == message


@pytest.mark.parametrize(("dtype", "count"), [("f32", 4), ("bf16", 2), ("i64", 8), ("bool", 1)])
def test_bytes(dtype, count):
    assert item_bytes(dtype) == count


def test_kinds_are_no_dtypes():
    assert not set(KINDS) & set(DTYPES)
