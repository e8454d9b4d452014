"""Read sources, and draw trees of values with the path of each."""

import pytest
import yaml
from hypothesis import strategies as st

from composer.core.errors import ComposerError
from composer.manifest.source import read_document_file

LOADERS = [yaml.SafeLoader] + ([yaml.CSafeLoader] if yaml.__with_libyaml__ else [])


def error_text(path):
    with pytest.raises(ComposerError) as caught:
        read_document_file(path)
    return str(caught.value)


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


def at(text, place):
    return text.split("\n")[place.line - 1][place.column - 1 :]
