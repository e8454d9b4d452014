"""The page at `/` in a browser: files, the microphone, keys, and nothing from elsewhere."""

import re
import shutil
import time
import wave

import pytest

import composer
from tests.server.conftest import CLIP, MINI
from tests.server.serving import serving

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
TEXT = "nine one eight one one eight three"
browsing = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium")


def test_the_page_allows_itself_its_own_script_and_nothing_else(served):
    status, headers, body = served.send("GET", "/")
    assert status == 200
    assert headers["content-type"] == "text/html; charset=utf-8"
    policy = headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "connect-src 'self'" in policy
    for link in re.findall(rb"https?://", body):
        pytest.fail(f"the page names {link}")


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    sync_api = pytest.importorskip("playwright.sync_api")
    microphone = tmp_path_factory.mktemp("microphone") / "clip.wav"
    audio = composer.read_audio(CLIP).resample(48_000)
    with wave.open(str(microphone), "wb") as file:
        file.setparams((1, 2, 48_000, 0, "NONE", None))
        file.writeframes((audio.samples * 32767).astype("<i2").tobytes())
    flags = [
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-audio-capture={microphone}%noloop",
        "--autoplay-policy=no-user-gesture-required",
    ]
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield browser
        browser.close()


@pytest.fixture
def page(browser, served):
    """Open the page; at the end nothing was complained of, and nothing came from elsewhere."""
    context = browser.new_context(permissions=["microphone"])
    page = context.new_page()
    asked, complaints = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(served.url.removesuffix("v1"))
    wait(page, "document.querySelectorAll('#model option').length === 3")
    yield page
    context.close()
    own = served.url.removesuffix("v1")
    assert [url for url in asked if not url.startswith((own, "data:", f"blob:{own[:-1]}"))] == []
    assert [text for text in complaints if "status of 4" not in text] == []


def wait(page, expression, seconds=120):
    """Wait until an expression is true; the page's policy forbids Playwright's own way."""
    until = time.monotonic() + seconds
    while not page.evaluate(expression):
        assert time.monotonic() < until, (expression, page.text_content("#status"))
        page.wait_for_timeout(50)


def done(page, text="Done."):
    wait(page, f"document.getElementById('status').textContent === '{text}'")


@browsing
@pytest.mark.slow
def test_a_file_becomes_text_and_segments_that_follow_the_player(page):
    page.set_input_files("#file", str(CLIP))
    done(page)
    assert page.text_content("#text") == TEXT
    (segment,) = page.query_selector_all("#segments button")
    assert segment.text_content() == f"0:00.0{TEXT}"
    painted = (
        "() => new Set(document.getElementById('wave').getContext('2d')"
        ".getImageData(0, 0, 300, 40).data).size"
    )
    assert page.evaluate(painted) > 3
    segment.focus()
    page.keyboard.press("Enter")
    wait(page, "document.getElementById('player').currentTime > 0.2")
    assert segment.get_attribute("aria-current") == "true"
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("Space")
    wait(page, "document.getElementById('player').paused")
    page.keyboard.press("ArrowLeft")
    wait(page, "document.getElementById('player').currentTime === 0")
    assert page.get_attribute("#wave", "aria-valuetext") == "0:00.0"


@pytest.fixture(scope="module")
def aligning(bundles):
    """Serve a model beside an aligner."""
    with (
        composer.load("aligner-mini") as aligner,
        serving({"mega-asr-mini": bundles["mega-asr-mini"], "aligner-mini": aligner}) as running,
    ):
        yield running


CURRENT = "[...document.querySelectorAll('.word[aria-current]')].map(each => each.textContent)"


@browsing
@pytest.mark.slow
def test_words_follow_the_player(browser, aligning, bundles):
    page = browser.new_page()
    complaints = []
    page.on("console", lambda message: complaints.append(message.text))
    page.goto(f"http://127.0.0.1:{aligning.port}/")
    wait(page, "document.querySelectorAll('#model option').length === 1")  # an aligner is none
    page.set_input_files("#file", str(CLIP))
    done(page)
    assert page.text_content("#text") == TEXT
    (want,) = composer.transcribe(bundles["mega-asr-mini"], [CLIP], align="aligner-mini")
    assert [each.text_content() for each in page.query_selector_all(".word")] == TEXT.split()
    for number in (0, 3, len(want.words) - 1):
        word = want.words[number]
        middle = (word.start + word.end) / 2
        page.evaluate(f"document.getElementById('player').currentTime = {middle}")
        wait(page, f"({CURRENT}).join() === '{word.text}'")
        at = page.query_selector(".word[aria-current]")
        assert at.get_attribute("title") == f"{clock(word.start)} to {clock(word.end)}"
    page.query_selector_all(".word")[2].click()
    wait(page, f"document.getElementById('player').currentTime >= {round(want.words[2].start, 3)}")
    page.evaluate("document.getElementById('player').pause()")
    page.evaluate("document.getElementById('player').currentTime = 0")
    for key, at in (("]", 1), ("]", 2), ("[", 1)):
        page.keyboard.press(key)
        wait(page, f"({CURRENT}).join() === '{want.words[at].text}'")
    page.fill("#language", "German")  # which the model knows, and the aligner does not
    page.set_input_files("#file", str(CLIP))
    wait(page, "document.querySelectorAll('.word').length === 0")
    done(page)
    assert page.query_selector_all(".word") == []
    assert [text for text in complaints if "status of 400" not in text] == []
    page.close()


def clock(seconds):
    return f"{int(seconds // 60)}:{round(seconds, 3) % 60:04.1f}"


@browsing
@pytest.mark.slow
def test_the_graph_with_weights_and_times_by_node(page, bundles):
    page.click("#graph summary")
    wait(page, "document.querySelector('#picture img')?.naturalWidth > 300")
    nodes = bundles["mega-asr-mini"].checked.graphs["default"].nodes
    rows = [
        [cell.text_content() for cell in row.query_selector_all("td")]
        for row in page.query_selector_all("#nodes tr")
    ]
    assert [row[0] for row in rows] == list(nodes)
    by_name = {row[0]: row for row in rows}
    assert by_name["soft"][1:4] == ["encoder", "onnx.graph", "f32, 5.39 MB"]
    assert by_name["answer"][3].startswith("f32, 7.08 bits a weight")
    assert {row[4] for row in rows} == {""}
    page.set_input_files("#file", str(CLIP))
    done(page)
    times = [float(cell.text_content()) for cell in page.query_selector_all("#nodes td.number")]
    assert len(times) == len(nodes)
    assert max(times) > 0
    page.select_option("#model", "elderwise-mini")
    wait(page, "document.querySelectorAll('#nodes tr').length === 9")


def test_the_graph_of_a_model(served):
    status, _, body = served.send("GET", "/graph?model=org%2Fmini")
    assert status == 200
    assert body["svg"].startswith("<svg ")
    assert body["nodes"][-1] == {
        "name": "parsed", "run": "parse", "kind": "text.qwen3_asr", "weights": "",
    }  # fmt: skip
    assert served.send("GET", "/graph?model=none")[0] == 404
    status, _, body = served.send("GET", "/graph")
    assert (status, body["error"]["param"]) == (400, "model")


def test_the_graph_needs_the_key(bundles):
    with serving({"m": bundles["mega-asr-mini"]}, api_key="sesame") as running:
        assert running.send("GET", "/graph?model=m")[0] == 401


@browsing
@pytest.mark.slow
def test_speech_from_the_microphone(page):
    page.keyboard.press("r")
    page.wait_for_selector("#record[aria-pressed=true]")
    page.wait_for_timeout(2500)
    page.click("#record")
    done(page)
    assert page.text_content("#text").split()[:2] == TEXT.split()[:2]


@browsing
@pytest.mark.slow
def test_refusals_are_shown(page):
    page.fill("#language", "xx")
    page.set_input_files("#file", str(CLIP))
    page.wait_for_selector("#status.wrong")
    assert "'xx' is not a language" in page.text_content("#status")
    page.fill("#language", "")
    page.set_input_files("#file", str(MINI / "bundle.yaml"))
    readable = "document.getElementById('status').textContent.includes('not a readable')"
    wait(page, readable)


@browsing
@pytest.mark.slow
def test_a_key_is_asked_for(browser, bundles):
    with serving({"m": bundles["mega-asr-mini"]}, api_key="sesame") as running:
        page = browser.new_page()
        page.goto(f"http://127.0.0.1:{running.port}/")
        page.wait_for_selector("#key-row:not([hidden])")
        page.fill("#key", "sesame")
        page.press("#key", "Enter")
        wait(page, "document.querySelectorAll('#model option').length === 1")
        page.set_input_files("#file", str(CLIP))
        done(page)
        page.close()


@browsing
@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1200])
def test_it_fits_every_screen_in_light_and_dark(browser, aligning, scheme, width, tmp_path):
    page = browser.new_page(color_scheme=scheme, viewport={"width": width, "height": 800})
    page.goto(f"http://127.0.0.1:{aligning.port}/")
    wait(page, "document.querySelectorAll('#model option').length === 1")
    page.click("#graph summary")
    page.set_input_files("#file", str(CLIP))
    done(page)
    wait(page, "document.querySelector('#picture img')?.naturalWidth > 300")
    page.evaluate("document.getElementById('player').currentTime = 1")
    wait(page, f"({CURRENT}).join() === 'eight'")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    shades = page.evaluate(
        "[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]"
    )
    levels = [sum(map(int, re.findall(r"\d+", shade)[:3])) for shade in shades]
    assert (levels[0] < levels[1]) == (scheme == "dark")
    page.screenshot(path=tmp_path / f"{scheme}-{width}.png", full_page=True)
    page.close()
