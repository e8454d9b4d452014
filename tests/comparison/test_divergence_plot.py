"""The picture of divergence over size."""

import math
from xml.etree import ElementTree

from composer.comparison.divergence_plot import DivergencePoint, divergence_plot

SVG = "{http://www.w3.org/2000/svg}"
POINTS = [
    DivergencePoint("decoder=four & more", "nearest", 100, 1e-2),
    DivergencePoint("decoder=eight", "nearest", 200, 1e-4),
    DivergencePoint("as stored", "gptq", 300, 0.0),
]


def test_points_stand_where_their_numbers_say():
    root = ElementTree.fromstring(divergence_plot("mini <1>", POINTS, POINTS[:2]))
    assert root.find(f"{SVG}title").text == "mini <1>"
    circles = [(float(c.get("cx")), float(c.get("cy"))) for c in root.iter(f"{SVG}circle")]
    first, second, third = circles[:3]
    assert math.isclose(second[0] - first[0], third[0] - second[0], abs_tol=0.11)
    # Two decades down, and four more to the least that is drawn.
    assert math.isclose(2 * (second[1] - first[1]), third[1] - second[1], abs_tol=0.31)
    assert len(circles) == 3 + 2  # and one for each series
    (line,) = root.iter(f"{SVG}polyline")
    ends = [tuple(map(float, each.split(","))) for each in line.get("points").split()]
    assert ends == circles[:2]
    assert "decoder=four & more" in {text.text for text in root.iter(f"{SVG}text")}


def test_one_point_is_a_picture_too():
    ElementTree.fromstring(divergence_plot("one", POINTS[:1]))
