"""Damage sound files in the ways that an untrusted file could be damaged."""

import re

from hypothesis import strategies as st

from tests.fuzz.readers import READERS

VALUE = re.compile(rb'"(?:[^"\\]|\\.){0,40}"|-?\d[\d.e+-]*|true|false|null')  # of JSON


@st.composite
def damaged(draw, name):
    """Draw a sound file and change, insert, repeat, move or cut bytes; or draw noise."""
    reader = READERS[name]
    data = bytearray(draw(st.sampled_from(reader.seeds)))
    for _ in range(draw(st.integers(1, 8))):
        at = draw(st.integers(0, len(data)))
        match draw(st.integers(0, 8)):
            case 0 if at < len(data):
                data[at] = draw(st.integers(0, 255))
            case 1:
                data[at:at] = draw(st.sampled_from(reader.pieces))
            case 2:
                data[at:at] = draw(st.binary(max_size=8))
            case 3:
                piece = data[at : at + draw(st.integers(1, 40))]
                data[at:at] = piece * draw(st.integers(1, 50))
            case 4:
                del data[at : at + draw(st.integers(1, 64))]
            case 5:
                piece = data[at : at + draw(st.integers(1, 64))]
                to = draw(st.integers(0, len(data)))
                data[to : to + len(piece)] = piece
            case 6:
                del data[at:]
            case _ if value := VALUE.search(data, at):
                data[slice(*value.span())] = draw(st.sampled_from(reader.pieces))
    return bytes(data) if draw(st.integers(0, 20)) else draw(st.binary(max_size=300))
