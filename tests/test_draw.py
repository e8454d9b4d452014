import re
import xml.etree.ElementTree as ET
from itertools import combinations, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from composer.checker import check_variant
from composer.core.units import format_bytes
from composer.graph_drawing.layout import GAP, lay_out
from composer.graph_drawing.mermaid import _escape, mermaid
from composer.graph_drawing.svg import svg
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


def boxes(root):
    return [
        tuple(float(rect.get(key)) for key in ("x", "y", "width", "height"))
        for rect in root.iter(f"{SPACE}rect")
        if rect.get("class") != "ground"
    ]


def test_svg(bundle):
    root = ET.fromstring(svg(bundle))
    texts = [element.text for element in root.iter(f"{SPACE}text")]
    assert texts[0] == "fake-asr"
    for each in ("audio", "f32 F 4 @echo.embed", "scatter", ".slots → at"):
        assert each in texts
    assert len(boxes(root)) == 9
    assert len(list(root.iter(f"{SPACE}path"))) == 10 + 1
    notes = [element.text for element in root.iter(f"{SPACE}title")]
    assert "$asked.slots → embeds.at: bool T" in notes
    assert "prefers-color-scheme: dark" in svg(bundle)
    assert svg(bundle) == svg(bundle)


def test_svg_escapes_text(fakes, tmp_path):
    path = write(tmp_path, BUNDLE, ("run: widen", 'run: "a<&\\"\\e"'))
    checked = check_variant(path, None)
    if checked.bundle:
        ET.fromstring(svg(checked.bundle))


def test_nothing_in_the_svg_overlaps(bundle):
    root = ET.fromstring(svg(bundle))
    for (x, y, w, h), (a, b, v, g) in combinations(boxes(root), 2):
        assert x + w <= a or a + v <= x or y + h <= b or b + g <= y
    width, height = (float(root.get(key)) for key in ("width", "height"))
    for x, y, w, h in boxes(root):
        assert x >= 0
        assert y >= 0
        assert x + w <= width
        assert y + h <= height


def test_text_stays_inside_its_box(bundle):
    for line in svg(bundle).splitlines():
        if "<rect" in line:
            width = float(re.search(r' width="([\d.]+)"', line)[1])
        elif line.strip().startswith("<text x"):
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
