from hypothesis import given
from hypothesis import strategies as st

from composer.core.component import Bound
from composer.graph.dims import Conflict, DimUnifier

LENGTHS = st.one_of(st.sampled_from("abcdefgh"), st.integers(1, 3))
PAIRS = st.lists(st.tuples(LENGTHS, LENGTHS), max_size=12)


def test_both_witnesses_are_kept():
    dims = DimUnifier()
    dims.unify("D", 2560, "embed_tokens [262144, 2560]")
    dims.unify("O", 3584, "out_proj [3584, 6400]")
    dims.unify("D", "E")
    conflict = dims.unify("O", "E")
    assert conflict == Conflict(
        Bound(3584, "out_proj [3584, 6400]"), Bound(2560, "embed_tokens [262144, 2560]")
    )
    assert dims.bound("E") == Bound(2560, "embed_tokens [262144, 2560]")
    assert dims.bound("O") == Bound(3584, "out_proj [3584, 6400]")


def test_literals_are_compared():
    dims = DimUnifier()
    assert dims.unify(3, 3) is None
    assert dims.unify(3, 4, "a port") == Conflict(Bound(3, "a port"), Bound(4, "a port"))
    assert dims.bound("T") is None


def classes(pairs):
    """Work the classes out slowly: merge sets until nothing changes."""
    sets = [{a, b} for a, b in pairs]
    merged = True
    while merged:
        merged = False
        for one in sets:
            for other in sets:
                if one is not other and one & other:
                    one |= other
                    sets.remove(other)
                    merged = True
                    break
            if merged:
                break
    return sets


@given(PAIRS)
def test_a_conflict_is_found_exactly_when_a_class_holds_two_numbers(pairs):
    dims = DimUnifier()
    found = [dims.unify(a, b) for a, b in pairs]
    wrong = any(sum(isinstance(each, int) for each in group) > 1 for group in classes(pairs))
    assert any(found) == wrong


@given(PAIRS)
def test_a_class_has_one_root_and_one_number(pairs):
    dims = DimUnifier()
    if any(dims.unify(a, b) for a, b in pairs):
        return
    for group in classes(pairs):
        names = {each for each in group if isinstance(each, str)}
        numbers = {each for each in group if isinstance(each, int)}
        assert numbers or len({dims.root(name) for name in names}) <= 1
        for name in names:
            bound = dims.bound(name)
            assert {bound.value} == numbers if numbers else bound is None


@given(PAIRS, st.randoms())
def test_the_verdict_does_not_depend_on_the_order(pairs, random):
    one, other = DimUnifier(), DimUnifier()
    first = [one.unify(a, b) for a, b in pairs]
    shuffled = [(b, a) for a, b in pairs]
    random.shuffle(shuffled)
    second = [other.unify(a, b) for a, b in shuffled]
    assert any(first) == any(second)
