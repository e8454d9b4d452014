"""Rows go to the marks that were made for them: what the checker says, and what runs."""

import numpy as np
import pytest
from tokenizers import Tokenizer, models

import composer
from tests.fakes import write

pytestmark = pytest.mark.usefixtures("fakes")
BUNDLE = """\
composer: 1
name: two-slots
sources: {here: ./}
components:
  widen: {use: fake.widen, emits: echo.embed}
  echo: {use: fake.echo}
  prompt: {use: text.prompt, files: here, config: {template: "a{speech}b{picture}c{word}"}}
inputs:
  frames: {type: tensor, port: f32 SIZE 2}
  patches: {type: tensor, port: f32 SIZE2 2}
  word: {type: text, default: c}
graph:
  heard: {run: widen, with: {x: $frames}}
  seen: {run: widen, with: {x: $patches}}
  asked: {run: prompt, with: {speech: $heard, picture: $seen, word: $word}}
  words: {run: echo.embed, with: {ids: $asked.ids}}
GRAPH
  answer: {run: echo.generate, with: {embeds: $embeds}}
outputs: {text: $answer.text, embeds: $embeds, ids: $asked.ids}
"""
TWO = """\
  first: {run: scatter, with: {base: $words, at: $asked.speech, values: $heard}}
  embeds: {run: scatter, with: {base: $first, at: $asked.picture, values: $seen}}"""
JOINED = """\
  both: {run: concat, with: {values: [$heard, $seen]}}
  embeds: {run: scatter, with: {base: $words, at: $asked.slots, values: $both}}"""


@pytest.fixture
def folder(tmp_path):
    Tokenizer(models.WordLevel({"a": 0, "b": 1, "c": 2, "d": 3}, "d")).save(
        str(tmp_path / "tokenizer.json")
    )
    return tmp_path


def bundle(folder, graph, *changes, sizes=("N", "M")):
    text = BUNDLE.replace("SIZE2", sizes[1]).replace("SIZE", sizes[0]).replace("GRAPH", graph)
    return write(folder, text, *changes)


def problems(folder, graph, *changes, sizes=("N", "M")):
    path = bundle(folder, graph, *changes, sizes=sizes)
    return [f"{p.place.line}: {str(p).split(': ', 1)[1]}" for p in composer.check(path).problems]


@pytest.mark.parametrize("sizes", [("N", "M"), ("2", "2")])
@pytest.mark.parametrize("graph", [TWO, JOINED])
def test_rows_at_their_marks(folder, graph, sizes):
    path = bundle(folder, graph, sizes=sizes)
    assert composer.check(path).problems == ()
    frames, patches = np.float32([[1, 1], [2, 2]]), np.float32([[5, 5], [6, 6]])
    with composer.load(path) as loaded:
        given = loaded.run(frames=frames, patches=patches).outputs
    (texts,) = np.nonzero(given["embeds"][:, 0] == given["ids"])
    soft = [row for k, row in enumerate(given["embeds"][:, 0].tolist()) if k not in texts]
    assert soft == [1, 2, 5, 6]


@pytest.mark.parametrize("sizes", [("N", "M"), ("2", "2"), ("2", "3")])
def test_two_slots_in_the_wrong_order(folder, sizes):
    swapped = TWO.replace("$heard", "$x").replace("$seen", "$heard").replace("$x", "$seen")
    assert problems(folder, swapped, sizes=sizes) == [
        "17: W227 $asked.speech marks the rows of $heard, but scatter.values has those of "
        "$seen\n"
        "    the slot 'speech' has the rows of $heard\n"
        "    the slot 'picture' has the rows of $seen\n"
        "    hint: their own marks are $asked.picture",
        "18: W227 $asked.picture marks the rows of $seen, but scatter.values has those of "
        "$heard\n"
        "    the slot 'speech' has the rows of $heard\n"
        "    the slot 'picture' has the rows of $seen\n"
        "    hint: their own marks are $asked.speech",
    ]


@pytest.mark.parametrize("sizes", [("N", "M"), ("2", "2")])
def test_rows_joined_in_another_order_than_the_template(folder, sizes):
    other = JOINED.replace("[$heard, $seen]", "[$seen, $heard]")
    assert problems(folder, other, sizes=sizes) == [
        "18: W227 $asked.slots marks the rows of $heard, then $seen, but scatter.values has "
        "those of $seen, then $heard\n"
        "    the slot 'speech' has the rows of $heard\n"
        "    the slot 'picture' has the rows of $seen\n"
        "    hint: join them in the order of the template, or scatter each into its own marks"
    ]


@pytest.mark.parametrize(("value", "hint"), [
    ("$heard", "their own marks are $asked.speech"),
    ("$seen", "their own marks are $asked.picture"),
])  # fmt: skip
def test_rows_of_one_slot_at_the_marks_of_all(folder, value, hint):
    graph = f"  embeds: {{run: scatter, with: {{base: $words, at: $asked.slots, values: {value}}}}}"
    (found, *_) = problems(folder, graph)
    assert found.startswith("17: W227 $asked.slots marks the rows of $heard, then $seen, but ")
    assert found.endswith(f"hint: {hint}")


def test_rows_of_both_at_the_marks_of_one(folder):
    graph = JOINED.replace("asked.slots", "asked.speech")
    (found,) = problems(folder, graph)
    assert (
        "W227 $asked.speech marks the rows of $heard, but scatter.values has those of $heard, "
        in found
    )
    assert found.endswith("scatter each into its own marks: $asked.speech, $asked.picture")


def test_projected_rows_are_those_that_were_counted(folder):
    graph = """\
  small: {run: transpose, with: {x: $frames}}
  again: {run: transpose, with: {x: $small}}
  soft: {run: widen, with: {x: $again}}
  first: {run: scatter, with: {base: $words, at: $asked.speech, values: $soft}}
  embeds: {run: scatter, with: {base: $first, at: $asked.picture, values: $seen}}"""
    # A projector keeps rows; what transposes them twice may have others, so only numbers count.
    assert problems(folder, graph, sizes=("N", "M")) == []
    other = graph.replace("values: $soft", "values: $pooled").replace(
        "  soft:", "  pooled: {run: pool, with: {x: $heard, by: 2}}\n  soft:"
    )
    found = problems(folder, other, sizes=("4", "M"))
    assert found[0] == (
        "21: W209 axis 0 of $pooled is 2 but $asked.speech marks 4\n"
        "    2 comes from pool of x [4, 4]\n"
        "    4 comes from the input frames: 'f32 4 2'\n"
        "    hint: the prompt counts the rows that are wired to its slot: wire these very rows"
    )


@pytest.mark.parametrize("at", ["speech", "slots"])
def test_two_scatters_on_the_same_marks(folder, at):
    graph = TWO.replace("at: $asked.picture, values: $seen", f"at: $asked.{at}, values: $heard")
    found = problems(folder, graph)
    assert any(
        each.startswith(
            f"18: W228 'embeds' and 'first' scatter into the same marks: $asked.{at} and "
            "$asked.speech\n    'embeds' writes over the rows of 'first', its base\n"
        )
        for each in found
    )


def test_two_scatters_on_the_same_mask_of_an_input(folder):
    graph = """\
  first: {run: scatter, with: {base: $words, at: $mask, values: $heard}}
  embeds: {run: scatter, with: {base: $first, at: $mask, values: $heard}}"""
    found = problems(folder, graph, ("  word: {", "  mask: mask\n  word: {"))
    assert found[0] == (
        "19: W228 'embeds' and 'first' scatter into the same marks: $mask and $mask\n"
        "    'embeds' writes over the rows of 'first', its base\n"
        "    hint: leave one of the two out, or take other marks"
    )


def test_the_same_marks_over_two_bases_are_fine(folder):
    graph = TWO + (
        "\n  deep: {run: scatter, with: {base: $words, at: $asked.speech, values: $heard}}"
    )
    found = problems(folder, graph, ("$answer.text,", "$answer.text, deep: $deep,"))
    assert found == []


def test_a_slot_that_nothing_is_scattered_into(folder):
    graph = "  embeds: {run: scatter, with: {base: $words, at: $asked.speech, values: $heard}}"
    assert problems(folder, graph) == [
        "15: L305 warning: the rows of $seen go nowhere: nothing is scattered into the slot "
        "'picture'\n    hint: scatter them: {run: scatter, with: {base: $..., at: $asked.picture, "
        "values: $seen}}"
    ]


@pytest.mark.parametrize(("word", "why"), [
    ("$word", "its input 'word' is $word, a text: there are no rows to mark"),
    ("hello", "its input 'word' is a text: there are no rows to mark"),
])  # fmt: skip
def test_the_marks_of_a_slot_with_text(folder, word, why):
    graph = TWO.replace("$asked.picture", "$asked.word")
    (found, *_) = problems(folder, graph, ("word: $word}", f"word: {word}}}"))
    assert found == (
        f"18: W207 '$asked' has no output 'word'\n    {why}\n"
        "    hint: it has: $asked.ids, $asked.slots, $asked.speech, $asked.picture, $asked.text"
    )
