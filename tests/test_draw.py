import re
import xml.etree.ElementTree as ET
from itertools import combinations, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from composer.checker import check_variant
from composer.core.units import format_bytes
from composer.graph_drawing.diagram import Arrow, Box, Diagram
from composer.graph_drawing.layout import GAP, lay_out
from composer.graph_drawing.mermaid import _escape, mermaid
from composer.graph_drawing.svg import picture, svg
from composer.sources.shipped import shipped_bundles
from tests.fakes import BUNDLE, write

SPACE = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def bundle(fakes, tmp_path):
    return check_variant(write(tmp_path), None).raise_if_refused()


def test_mermaid(bundle):
    assert mermaid(bundle).splitlines() == [
        "flowchart TD",
        '  v_audio(["<b>audio</b><br/>audio"])',
        '  v_line(["<b>line</b><br/>text"])',
        '  v_mel["<b>mel</b><br/>frames<br/>f32 F 2<br/>.mask bool F"]',
        '  v_soft["<b>soft</b><br/>widen<br/>f32 F 4 @echo.embed"]',
        '  v_asked["<b>asked</b><br/>ask<br/>.ids i64 T<br/>.slots bool T<br/>.text text"]',
        '  v_words["<b>words</b><br/>echo.embed<br/>f32 T 4 @echo.embed"]',
        '  v_embeds["<b>embeds</b><br/>scatter<br/>f32 T 4 @echo.embed"]',
        '  v_answer["<b>answer</b><br/>echo.generate<br/>.text text<br/>.ids i64 N'
        '<br/>.finish_reason text"]',
        '  o_text[["<b>text</b><br/>text"]]',
        "  v_audio --> v_mel",
        '  v_mel -->|"x"| v_soft',
        '  v_soft -->|"speech"| v_asked',
        "  v_line --> v_asked",
        '  v_asked -->|".ids"| v_words',
        '  v_words -->|"base"| v_embeds',
        '  v_asked -->|".slots → at"| v_embeds',
        '  v_soft -->|"values"| v_embeds',
        "  v_embeds --> v_answer",
        '  v_answer -->|".text"| o_text',
    ]


def test_mermaid_has_a_subgraph_for_each_task(fakes, tmp_path):
    task = (
        "{inputs: {text: text}, graph: {end: {run: up, with: {text: $text}}}, outputs: {o: $end}}"
    )
    text = (
        "composer: 1\nname: two\ncomponents: {up: {use: fake.upper}}\n"
        f"tasks:\n  one: {task}\n  other: {task}\n"
    )
    lines = mermaid(check_variant(write(tmp_path, text), None).raise_if_refused()).splitlines()
    assert [line.strip() for line in lines if "subgraph" in line] == [
        'subgraph t0["one"]',
        'subgraph t1["other"]',
    ]
    assert "    t1_v_text --> t1_v_end" in lines


def test_mermaid_reads_no_text_as_its_own():
    assert _escape('a"]<b>;#') == "a#34;#93;#60;b#62;#59;#35;"


def rectangles(root, *, labels=False):
    """Return the boxes, or the grounds of labels, of each drawing of a picture: x, y, w, h."""
    return [
        tuple(float(rect.get(key)) for key in ("x", "y", "width", "height"))
        for rect in root.iter(f"{SPACE}rect")
        if rect.get("x") and (rect.get("class") == "ground") == labels
    ]


def drawings(root):
    """Return the groups of a picture that are tasks, and no lines of its legend."""
    return [group for group in root.iter(f"{SPACE}g") if rectangles(group)]


def overlap(one, other):
    (x, y, w, h), (a, b, v, g) = one, other
    return x + w > a and a + v > x and y + h > b and b + g > y


def assert_nothing_overlaps(text):
    root = ET.fromstring(text)
    width, height = (float(root.get(key)) for key in ("width", "height"))
    for group in drawings(root):
        shift = [float(n) for n in re.findall(r"[\d.]+", group.get("transform"))]
        placed = rectangles(group) + rectangles(group, labels=True)
        for one, other in combinations(placed, 2):
            assert not overlap(one, other), (one, other)
        for x, y, w, h in placed:
            assert x + shift[0] >= 0
            assert x + w + shift[0] <= width
            assert y + shift[1] >= 0
            assert y + h + shift[1] <= height


def test_svg(bundle):
    root = ET.fromstring(svg(bundle))
    texts = [element.text for element in root.iter(f"{SPACE}text")]
    assert texts[0] == "fake-asr"
    for each in ("audio", "f32 F 4 @echo.embed, 16 B x F", "scatter", ".slots → at"):
        assert each in texts
    (drawing,) = drawings(root)
    assert len(rectangles(drawing)) == 9
    assert len(list(root.iter(f"{SPACE}path"))) == 10 + 1
    notes = [element.text for element in root.iter(f"{SPACE}title")]
    assert "$asked.slots → embeds.at: bool T" in notes
    assert "prefers-color-scheme: dark" in svg(bundle)
    assert svg(bundle) == svg(bundle)


def test_svg_names_weights_and_colours(capsys):
    bundle = check_variant("mega-asr-mini", None).raise_if_refused()
    root = ET.fromstring(svg(bundle))
    texts = [element.text for element in root.iter(f"{SPACE}text")]
    facts = bundle.components["encoder"].facts
    assert f"encoder: f32, {format_bytes(facts.nbytes)}" in texts
    (packed,) = [text for text in texts if text.startswith("decoder: ")]
    assert re.fullmatch(r"decoder: f32, [\d.]+ bits a weight, [\d.]+ MB", packed)
    total = sum(each.facts.nbytes for each in bundle.components.values())
    last = "weights are named at the first node that runs them: "
    assert texts[-1] == f"{last}{format_bytes(total)} in all"
    keys = [rect for rect in root.iter(f"{SPACE}rect") if not rect.get("x")]
    shown = {rect.get("class").split()[-1] for rect in keys}
    used = {rect.get("class").split()[-1] for rect in root.iter(f"{SPACE}rect") if rect.get("x")}
    assert shown == used - {"ground"}
    assert shown == {"input", "output", "on-numpy", "on-onnx"}
    style = root.find(f"{SPACE}style").text
    fills = re.findall(r"\.(?:on-\w+|input, \.output) \{fill: ([^;]+);", style)
    assert len(fills) == len(set(fills)) == 2 * 3  # on a light page and on a dark one


@pytest.mark.parametrize("name", shipped_bundles())
def test_nothing_in_the_picture_of_a_bundle_overlaps(name):
    """Of a bundle whose files are not here the shapes are not known, and its arrows are."""
    found = check_variant(name, None)
    assert_nothing_overlaps(svg(found.bundle))


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_labels_of_any_graph_have_places(data):
    count = data.draw(st.integers(2, 10))
    pairs = st.tuples(
        st.integers(0, count - 1), st.integers(0, count - 1), st.text("ab", max_size=30)
    )
    boxes = [Box(str(n), "node", f"node {n}", ("run", "f32 T 4"), "numpy") for n in range(count)]
    arrows = [
        Arrow(str(a), str(b), label, "note")
        for a, b, label in data.draw(st.lists(pairs, max_size=24))
        if a < b
    ]
    assert_nothing_overlaps(picture("any", {"any": Diagram(tuple(boxes), tuple(arrows))}))


def test_svg_escapes_text(fakes, tmp_path):
    path = write(tmp_path, BUNDLE, ("run: widen", 'run: "a<&\\"\\e"'))
    checked = check_variant(path, None)
    if checked.bundle:
        ET.fromstring(svg(checked.bundle))


def test_nothing_in_the_svg_overlaps(bundle):
    assert_nothing_overlaps(svg(bundle))


def test_text_stays_inside_its_box(bundle):
    for line in svg(bundle).splitlines():
        if '<rect class="box' in line and " x=" in line:
            width = float(re.search(r' width="([\d.]+)"', line)[1])
        elif "<rect" in line:
            width = None
        elif line.strip().startswith("<text x") and width:
            text = re.search(r">(.*)<", line)[1]
            assert len(text) * 7.3 <= width


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_graph_can_be_laid_out(data):
    count = data.draw(st.integers(1, 12))
    pairs = st.tuples(st.integers(0, count - 1), st.integers(0, count - 1))
    edges = [
        (str(a), str(b)) for a, b in data.draw(st.lists(pairs, max_size=24, unique=True)) if a < b
    ]
    width = st.floats(10, 300)
    sizes = {str(n): (data.draw(width), 40.0) for n in range(count)}
    layout = lay_out(sizes, edges)
    for start, end in edges:
        assert layout.centres[start][1] < layout.centres[end][1]
    rows = {}
    for name, (x, y) in layout.centres.items():
        assert x - sizes[name][0] / 2 >= -0.1
        assert x + sizes[name][0] / 2 <= layout.width + 0.1
        rows.setdefault(y, []).append((x, sizes[name][0]))
    for row in rows.values():
        for (x, w), (a, v) in pairwise(sorted(row)):
            assert a - x >= (w + v) / 2 + GAP - 0.1


@pytest.mark.parametrize(
    ("nbytes", "text"),
    [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (12_345_678, "12.3 MB"),
     (3_400_000_000, "3.4 GB"), (1_234_000_000_000, "1234 GB"), (999_999, "1 MB"),
     (123_456_789_012, "123 GB")],
)  # fmt: skip
def test_size(nbytes, text):
    assert format_bytes(nbytes) == text


def test_a_text_that_xml_forbids_is_replaced():
    """Written as it is, the whole file could not be read."""
    from xml.etree import ElementTree

    from composer.graph_drawing.svg import _text

    found = ElementTree.fromstring(_text(0, 0, "a\x00\x1b\ufffe\uffff\ud800<\u2028b"))
    assert found.text == "a" + "\ufffd" * 5 + "<\u2028b"
