"""Side inputs and spaces are ports like others: a decoder nobody knows is wired by manifest."""

from collections.abc import Generator
from typing import Any

import numpy as np
import pytest

import composer
from composer import Bound, Component, Facts, Spec, Token, method
from composer.core import registry
from composer.core.call_signature import OUT

WIDTH, LAYERS, ROWS = 4, 3, 16
SCALE = 8.0
TABLE = np.random.default_rng(0).standard_normal((ROWS, WIDTH)).astype(np.float32)
MIX = np.random.default_rng(1).standard_normal((LAYERS, WIDTH, WIDTH)).astype(np.float32) / 2


class Seer(Component, name="their.seer"):
    """An encoder that gives rows, and features of two of its own layers beside them."""

    @classmethod
    def facts(cls, spec: Spec, headers: Any) -> Facts:
        width = WIDTH
        return Facts({"D": Bound(width, f"seer: out [{width}, 2]"), "K": Bound(2, "seer: taps")})

    @classmethod
    def load(cls, spec: Spec, facts: Facts, placement: Any) -> "Seer":
        return cls()

    @method(pixels="f32 N 2", returns={OUT: "N D", "deep": "K N D"})
    def __call__(self, pixels: np.ndarray) -> dict[str, np.ndarray]:
        rows = np.repeat(pixels.sum(1, keepdims=True), WIDTH, 1)
        return {OUT: rows, "deep": np.stack([rows + 1, rows - 2])}


class Stacked(Component, name="their.stacked"):
    """A decoder that adds visual features to its first layers, as DeepStack does."""

    @classmethod
    def facts(cls, spec: Spec, headers: Any) -> Facts:
        table = Bound(WIDTH, f"stacked: embed [{ROWS}, {WIDTH}]")
        return Facts({"D": table, "K": Bound(2, "stacked: 2 layers take features")})

    @classmethod
    def load(cls, spec: Spec, facts: Facts, placement: Any) -> "Stacked":
        return cls()

    @method(ids="i64 T", returns="T D @embed")
    def embed(self, ids: np.ndarray) -> np.ndarray:
        return TABLE[ids] * SCALE

    @method(ids="i64 T", returns="T D @embed_unscaled")
    def embed_unscaled(self, ids: np.ndarray) -> np.ndarray:
        return TABLE[ids]

    @method(rows="N D @embed_unscaled", returns="N D @embed", converts=True)
    def scaled(self, rows: np.ndarray) -> np.ndarray:
        return rows * SCALE

    @method(ids="i64 T", returns="T @kinds")
    def kinds(self, ids: np.ndarray) -> np.ndarray:
        return (ids == 3).astype(np.float32)

    @method(
        embeds="T D @embed",
        kinds="T @kinds",
        at="bool T",
        deep="K N D",
        returns={"text": "text", "ids": "i64 G", "last": "f32 D"},
        streams=True,
    )
    def generate(
        self, embeds: np.ndarray, kinds: np.ndarray, at: np.ndarray, deep: np.ndarray
    ) -> Generator[Token, None, dict[str, Any]]:
        made = forward(embeds, kinds, at, deep)
        best = int(np.argmax(made @ TABLE.T))
        yield Token(best, str(best))
        return {"text": str(best), "ids": np.array([best]), "last": made}

    @method(embeds="T D @embed", ids="i64 T", returns="f32 D")
    def guess(self, embeds: np.ndarray, ids: np.ndarray) -> np.ndarray:
        """Look its side input up by itself."""
        return forward(embeds, self.kinds(ids), np.zeros(len(ids), bool), np.zeros((0, 1)))


def forward(embeds: np.ndarray, kinds: np.ndarray, at: np.ndarray, deep: np.ndarray) -> np.ndarray:
    """Return the last hidden row: causal sums, mixed, with features added in the first layers."""
    x = embeds + kinds[:, None]
    for layer, mix in enumerate(MIX):
        x = x + np.tanh(np.cumsum(x, 0) @ mix)
        if layer < len(deep):
            x = x.copy()
            x[at] += deep[layer]
    return x[-1]


MANIFEST = """\
composer: 1
name: theirs
components:
  seer: {use: their.seer, emits: words.embed}
  words: {use: their.stacked}
inputs:
  pixels: {type: tensor, port: f32 N 2}
  ids: ids
  at: mask
graph:
  seen: {run: seer, with: {pixels: $pixels}}
  text: {run: fill, with: {ids: $ids, at: $at, value: 0}}
  base: {run: words.embed, with: {ids: $ids}}
  rows: {run: scatter, with: {base: $base, at: $at, values: $seen}}
  kinds: {run: words.kinds, with: {ids: $text}}
  answer: {run: words.generate, with: {embeds: $rows, kinds: $kinds, at: $at, deep: $seen.deep}}
outputs: {text: $answer.text, ids: $answer.ids}
"""
PIXELS = np.array([[0.1, 0.2], [0.5, -0.4], [1.0, 0.3]], np.float32)
IDS = np.array([5, 3, 3, 3, 7, 9])
AT = IDS == 3


@pytest.fixture(autouse=True)
def theirs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for each in (Seer, Stacked):
        registry.register_component(each)
    yield
    for each in (Seer, Stacked):
        registry.unregister_component(each.name)


def write(tmp_path, *changes):
    text = MANIFEST
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    (tmp_path / "bundle.yaml").write_text(text)
    return "bundle.yaml"


def messages(tmp_path, *changes):
    return [str(problem) for problem in composer.check(write(tmp_path, *changes)).problems]


def answer(tmp_path, *changes, taps=()):
    with composer.load(write(tmp_path, *changes)) as bundle:
        return bundle.run(pixels=PIXELS, ids=IDS, at=AT, taps=taps)


def rows(factor=1.0):
    base = TABLE[IDS] * SCALE
    base[AT] = np.repeat(PIXELS.sum(1, keepdims=True), WIDTH, 1) * factor
    return base


def plain():
    return np.zeros(len(IDS), np.float32)


def features():
    wide = np.repeat(PIXELS.sum(1, keepdims=True), WIDTH, 1)
    return np.stack([wide + 1, wide - 2])


def test_features_of_several_layers_are_wired_like_anything_else(tmp_path):
    assert messages(tmp_path) == []
    expected = forward(rows(), plain(), AT, features())
    last = answer(tmp_path, taps=["answer.last"]).taps["answer.last"]
    np.testing.assert_allclose(last, expected, atol=1e-5)
    for wrong in (
        forward(rows(), plain(), AT, features()[::-1]),
        forward(rows(), plain(), AT, features() * 0),
        forward(rows(), (IDS == 3).astype(np.float32), AT, features()),
        forward(rows() / SCALE, plain(), AT, features()),
    ):
        assert abs(last - wrong).max() > 1e-2


def test_a_side_input_that_is_not_wired(tmp_path):
    (found,) = messages(tmp_path, (", deep: $seen.deep", ""))
    assert found.startswith(
        "bundle.yaml:16:3: W204 words.generate needs input 'deep', which is not wired"
    )


def test_a_side_input_that_the_decoder_does_not_have(tmp_path):
    (found,) = messages(tmp_path, ("deep: $seen.deep}", "deep: $seen.deep, per_layer: $kinds}"))
    assert "W203 words.generate has no input 'per_layer'" in found


def test_placeholder_ids_that_reach_a_side_input(tmp_path):
    filled = "  text: {run: fill, with: {ids: $ids, at: $at, value: 0}}\n"
    assert messages(tmp_path, ("{ids: $text}", "{ids: $ids}"), (filled, "")) == [
        "bundle.yaml:14:41: L301 warning: words.kinds reads $ids, which has placeholder ids "
        "where $rows has soft rows\n"
        "    hint: fill them first: {run: fill, with: {ids: $ids, at: $at, value: 0}}, with the id "
        "that the model was trained with in those slots"
    ]  # fmt: skip


def test_placeholder_ids_that_reach_the_decoder_itself(tmp_path):
    """A decoder that looks its side input up by itself reads placeholders no less."""
    for ids, found in (("$text", []), ("$ids", ["warning: words.guess reads $ids"])):
        more = f"  guess: {{run: words.guess, with: {{embeds: $rows, ids: {ids}}}}}\noutputs:"
        shown = messages(
            tmp_path, ("outputs:", more), ("$answer.ids}", "$answer.ids, last: $guess}")
        )
        assert [each.partition(" L301 ")[2].partition(",")[0] for each in shown] == found


UNSCALED = ("emits: words.embed", "emits: words.embed_unscaled")


def test_rows_of_another_space_are_converted_on_the_wire(tmp_path):
    assert messages(tmp_path, UNSCALED) == []
    result = answer(tmp_path, UNSCALED, taps=["seen", "rows"])
    np.testing.assert_array_equal(result.taps["rows"], rows(SCALE))
    np.testing.assert_array_equal(result.taps["seen"], rows()[AT])
    assert (rows(SCALE) != rows()).any()


def test_the_plan_shows_a_conversion(tmp_path):
    with composer.load(write(tmp_path, UNSCALED)) as bundle:
        assert [str(crossing) for crossing in bundle.plan().crossings] == [
            "$seen -> rows.values: words.embed_unscaled -> words.embed"
        ]


def test_a_space_that_nothing_leads_to(tmp_path):
    (found,) = messages(tmp_path, ("emits: words.embed", "emits: words.kinds"))
    assert found.startswith(
        "bundle.yaml:14:61: W210 $seen is in the space 'words.kinds' but $base is in 'words.embed'"
    )
    # There is no way back either: `scaled` leads one way.
    changes = [UNSCALED, ("words.embed,", "words.embed_unscaled,"), ("emits: words.embed_unscaled",
               "emits: words.embed")]  # fmt: skip
    (found,) = messages(tmp_path, *changes)
    assert "W210 $seen is in the space 'words.embed' but $base is in 'words.embed_unscaled'" in (
        found
    )
