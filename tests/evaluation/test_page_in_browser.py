"""The evaluation's page in a browser: choose, sort, play from a word, and save what is shown."""

import csv
import json
import shutil
import time
from dataclasses import replace

import pytest

import composer
from composer.sources.shipped import shipped_folder

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
CLIPS = shipped_folder("bundles") / "mega-asr-mini" / "clips"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium"),
]
IDS = "[...document.querySelectorAll('article:not([hidden])')].map(each => each.dataset.id)"


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    """Evaluate six clips, the references of two of them changed, one of them missing."""
    folder = tmp_path_factory.mktemp("evaluated")
    lines = [json.loads(line) for line in (CLIPS / "references.jsonl").read_text().splitlines()][:6]
    data = folder / "data.jsonl"
    for number, line in enumerate(lines):
        name = line["audio"]
        shutil.copy(CLIPS / name, folder / name)
        if number == 0:
            line["text"] = "ten " + line["text"]
        if number == 1:
            line["text"] = " ".join(line["text"].split()[:-2])
    (folder / "none.wav").write_bytes(b"junk")
    lines.append({"audio": "none.wav", "text": "=none"})
    data.write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = composer.evaluate("mega-asr-mini", data, align="aligner-mini", folder=folder / "out")
    assert len(found.scored) == 6
    return found, folder / "out"


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api")
    flags = ["--autoplay-policy=no-user-gesture-required"]
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield browser
        browser.close()


@pytest.fixture
def page(browser, evaluated):
    page = browser.new_page()
    complaints, asked = [], []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto((evaluated[1] / "index.html").as_uri())
    page.wait_for_selector("#tools:not([hidden])")
    yield page
    page.close()
    assert complaints == []
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []


def wait(page, expression, seconds=120):
    until = time.monotonic() + seconds
    while not page.evaluate(expression):
        assert time.monotonic() < until, expression
        page.wait_for_timeout(50)


def by_rate(found):
    rows = sorted(found.scored, key=lambda each: (-each.score.words.rate, each.clip.id))
    return [each.clip.id for each in rows]


def test_the_worst_come_first_and_order_and_choice_change(page, evaluated):
    found, _ = evaluated
    assert page.evaluate(IDS) == [*by_rate(found), "none.wav"]
    assert page.text_content("#shown") == "7 of 7"
    page.select_option("#sort", "id")
    page.click("#order")
    assert page.evaluate(IDS) == sorted([*by_rate(found), "none.wav"])
    page.select_option("#filter", "errors")
    wrong = [each.clip.id for each in found.scored if each.score.words.errors]
    assert page.evaluate(IDS) == sorted(wrong)
    page.select_option("#filter", "I")
    more = [each.clip.id for each in found.scored if each.score.words.insertions]
    assert page.evaluate(IDS) == sorted(more)
    page.select_option("#filter", "failed")
    assert page.evaluate(IDS) == ["none.wav"]
    page.select_option("#filter", "all")
    page.fill("#search", "TEN ")
    assert page.evaluate(IDS) == [found.scored[0].clip.id]
    page.fill("#search", "")
    page.fill("#least", "5")
    assert page.evaluate(IDS) == sorted(
        each.clip.id for each in found.scored if each.score.words.rate >= 0.05
    )
    assert page.text_content("#shown") == f"{len(page.evaluate(IDS))} of 7"


def test_a_word_plays_the_clip_from_its_place(page, evaluated):
    found, _ = evaluated
    each = found.scored[2]
    article = page.query_selector(f'article[data-id="{each.clip.id}"]')
    words = article.query_selector_all(".w")
    assert [word.text_content() for word in words] == each.transcript.hypothesis.split()
    third = each.transcript.words[2]
    words[2].focus()
    page.keyboard.press("Enter")
    player = f"document.querySelector('article[data-id=\"{each.clip.id}\"] audio')"
    wait(page, f"{player}.currentTime >= {third['start']}")
    page.evaluate(f"{player}.pause()")
    page.evaluate(f"{player}.currentTime = {(third['start'] + third['end']) / 2}")
    wait(page, "document.querySelector('.w[aria-current]') !== null")
    assert page.text_content(".w[aria-current]") == third["word"]


def test_what_is_shown_is_saved(page, evaluated, tmp_path):
    found, _ = evaluated
    page.select_option("#sort", "id")
    page.click("#order")
    for name, read in (
        ("csv", lambda path: list(csv.DictReader(path.read_text().splitlines()))),
        ("jsonl", lambda path: [json.loads(line) for line in path.read_text().splitlines()]),
    ):
        with page.expect_download() as saving:
            page.click(f"#{name}")
        saving.value.save_as(tmp_path / name)
        rows = read(tmp_path / name)
        assert saving.value.suggested_filename == f"utterances.{name}"
        by_id = {row["id"]: row for row in rows}
        assert [row["id"] for row in rows] == page.evaluate(IDS)
        for each in found.scored:
            row, counts = by_id[each.clip.id], each.score.words
            assert float(row["rate"]) == pytest.approx(counts.rate, abs=1e-6)
            assert (int(row["errors"]), int(row["words"])) == (counts.errors, counts.total)
            assert row["reference"] == each.clip.reference
            assert row["hypothesis"] == each.transcript.hypothesis


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1200])
def test_it_fits_every_screen_in_light_and_dark(browser, evaluated, scheme, width, tmp_path):
    page = browser.new_page(color_scheme=scheme, viewport={"width": width, "height": 900})
    page.goto((evaluated[1] / "index.html").as_uri())
    page.wait_for_selector("#tools:not([hidden])")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.screenshot(path=tmp_path / f"{scheme}-{width}.png", full_page=True)
    page.close()


def test_an_evaluation_resumes_with_its_words(evaluated, tmp_path):
    found, folder = evaluated
    data = folder.parent / "data.jsonl"
    again = composer.evaluate("mega-asr-mini", data, align="aligner-mini", folder=folder)
    assert [each.transcript for each in again.scored] == [each.transcript for each in found.scored]
    with pytest.raises(composer.ComposerError, match="R570"):
        composer.evaluate("mega-asr-mini", data, folder=folder)
    assert replace(found.scored[0].transcript, words=None).words is None
