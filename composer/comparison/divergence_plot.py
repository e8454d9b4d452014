"""Draw divergence over size as an SVG picture, which follows the reader's light or dark theme."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from composer.core.units import format_bytes
from composer.core.xml import allowed_in_xml

WIDTH, HEIGHT = 760, 420
LEFT, RIGHT, TOP, BOTTOM = 70, 190, 44, 44
LEAST = 1e-8  # nats; what is nearer is drawn there
ENTITIES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;"})
STYLE = """<style>
  svg {background: #ffffff; font: 11px ui-monospace, Menlo, Consolas, monospace}
  text {fill: #1f2328} .axis {stroke: #d1d9e0} .best {fill: none; stroke: #8c959f}
  .s0 {fill: #8c959f} .s1 {fill: #3b7ac7} .s2 {fill: #bc6b1e} .s3 {fill: #3a8a4d}
  .s4 {fill: #8250df} .s5 {fill: #cf222e}
  @media (prefers-color-scheme: dark) {
    svg {background: #0d1117} text {fill: #e6edf3} .axis {stroke: #3d444d}
  }
</style>"""


@dataclass(frozen=True)
class DivergencePoint:
    """An edition of a bundle: what it is called, of which series, its size and its divergence."""

    label: str
    series: str
    nbytes: int
    divergence: float


def divergence_plot(
    title: str, points: Sequence[DivergencePoint], best: Sequence[DivergencePoint] = ()
) -> str:
    """Return the picture: bytes to the right, nats a token upwards by their logarithm.

    A line joins the `best`; each series has a colour.
    """
    scale = _Scale([*points, *best])
    series = [*dict.fromkeys(point.series for point in points)]
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" '
        f'viewBox="0 0 {WIDTH} {HEIGHT}" role="img">',
        f"<title>{_escaped(title)}</title>",
        STYLE,
        _text(LEFT, 22, title),
        *scale.axes(),
    ]
    if best:
        line = " ".join("{:.1f},{:.1f}".format(*scale.place(point)) for point in best)
        parts.append(f'<polyline class="best" points="{line}"/>')
    for point in points:
        x, y = scale.place(point)
        number = series.index(point.series) % 6
        parts.append(f'<circle class="s{number}" cx="{x:.1f}" cy="{y:.1f}" r="4"/>')
        parts.append(_text(x + 7, y + 4, point.label))
    for number, name in enumerate(series):
        y = TOP + 8 + 16 * number
        parts.append(f'<circle class="s{number % 6}" cx="{WIDTH - 170}" cy="{y}" r="4"/>')
        parts.append(_text(WIDTH - 160, y + 4, name))
    return "\n".join([*parts, "</svg>"]) + "\n"


class _Scale:
    """Where sizes and divergences stand in the picture."""

    def __init__(self, points: Iterable[DivergencePoint]) -> None:
        sizes, logs = [], []
        for point in points:
            sizes.append(point.nbytes)
            logs.append(_log(point))
        self.small, self.large = min(sizes), max(sizes)
        self.low, self.high = math.floor(min(logs)), math.ceil(max(logs))

    def place(self, point: DivergencePoint) -> tuple[float, float]:
        """Return the x and y of a point."""
        share = (point.nbytes - self.small) / ((self.large - self.small) or 1)
        return LEFT + share * (WIDTH - LEFT - RIGHT), self._height(_log(point))

    def axes(self) -> Iterator[str]:
        """Yield a line for each power of ten, and the sizes at both ends."""
        for power in range(self.low, self.high + 1):
            y = self._height(power)
            yield f'<path class="axis" d="M{LEFT - 8} {y:.1f}H{WIDTH - RIGHT}"/>'
            yield _text(8, y + 4, f"1e{power}")
        for x, nbytes in ((LEFT, self.small), (WIDTH - RIGHT, self.large)):
            yield _text(x - 24, HEIGHT - 14, format_bytes(nbytes))

    def _height(self, log: float) -> float:
        share = (log - self.low) / ((self.high - self.low) or 1)
        return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)


def _log(point: DivergencePoint) -> float:
    return math.log10(max(point.divergence, LEAST))


def _text(x: float, y: float, text: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}">{_escaped(text)}</text>'


def _escaped(text: str) -> str:
    return allowed_in_xml(text).translate(ENTITIES)
