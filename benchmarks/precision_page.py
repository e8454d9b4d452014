"""The tables and pictures of docs/precision.md, of editions that were measured."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from composer.comparison.divergence_plot import DivergencePoint, divergence_plot

PAGE = Path(__file__).parents[1] / "docs" / "precision.md"
IMAGES = PAGE.parent / "images"
DECODERS = "<!-- precision: scripts/bench precision --write -->", "<!-- precision ends -->"
ENCODERS = (
    "<!-- encoders: scripts/bench precision --encoders --write -->",
    "<!-- encoders end -->",
)
MORE_CLIPS = "<!-- clips: scripts/bench precision --clips FOLDER --write -->", "<!-- clips end -->"


@dataclass(frozen=True)
class Edition:
    """A bundle with some components in a recipe, rounded in one way, and what that costs.

    `nbytes` are those of all weights, `bits` per weight of these components; `wer` is a fraction,
    with `low` and `high` its interval, and `divergence` in nats a token.
    """

    bundle: str
    recipe: str
    rounded: str
    nbytes: int
    bits: float
    wer: float
    low: float
    high: float
    divergence: float


def table(found: list[Edition], of_encoders: bool, picture: bool) -> str:
    """Return the editions as Markdown, a table for each bundle."""
    parts = []
    what = "encoder and projector" if of_encoders else "the decoder"
    for bundle in dict.fromkeys(each.bundle for each in found):
        lines = [
            f"### {bundle}",
            "",
            f"| recipe | rounded | weights | bits of {what} | WER | 95 % | divergence |",
            "|---|---|---|---|---|---|---|",
        ]
        for each in found:
            if each.bundle == bundle:
                lines.append(
                    f"| {each.recipe} | {each.rounded} | {each.nbytes / 1e6:.2f} MB "
                    f"| {each.bits:.2f} | {100 * each.wer:.2f} % "
                    f"| {100 * each.low:.2f} to {100 * each.high:.2f} | {each.divergence:.2g} |"
                )
        if picture:
            lines += ["", f"![Divergence over size](images/precision-{bundle}.svg)"]
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def draw(bundle: str, found: list[Edition]) -> str:
    """Return the editions of a bundle as a picture, in a colour for each way of rounding."""
    points = [
        DivergencePoint(each.recipe, each.rounded, each.nbytes, each.divergence)
        for each in found
        if each.bundle == bundle and each.divergence
    ]
    best, least = [], float("inf")
    for point in sorted(points, key=lambda each: (each.nbytes, each.divergence)):
        if point.divergence < least:
            best.append(point)
            least = point.divergence
    return divergence_plot(f"{bundle}: nats a token from as stored, by size", points, best)


def write(text: str, marks: tuple[str, str]) -> None:
    """Replace the part of the page between two marks."""
    begin, end = marks
    before, _, rest = PAGE.read_text("utf-8").partition(begin)
    _, _, after = rest.partition(end)
    PAGE.write_text(f"{before}{begin}\n\n{text}\n\n{end}{after}", "utf-8")
