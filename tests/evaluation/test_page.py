"""An evaluation's page and numbers, made of a few utterances by hand."""

import base64
import hashlib
import os
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from composer.evaluation import timing
from composer.evaluation.bootstrap import bootstrap_interval
from composer.evaluation.evaluation import evaluate
from composer.evaluation.journal import Journal, Transcript
from composer.evaluation.normalizer import normalizer
from composer.evaluation.normalizers.open_asr import FILLERS, NAMES
from composer.evaluation.page import html_page
from composer.evaluation.report import report_json, report_text
from composer.evaluation.timing import Clock, Speed
from composer.evaluation.utterance import Utterance
from composer.jobs.evaluate import run_clips

MADE = {"bundle": {"name": "b", "variant": None, "manifest": "sha256:1", "files": {}, "lock": None},
        "task": "t", "inputs": {}, "audio": {}, "placement": {}, "settings": {},
        "versions": {}}  # fmt: skip
HOSTILE = "<script>alert(1)</script>"


def transcript(name, messages, error=None):
    return Transcript(name, "0" * 64, 1.0, "x", hypothesis=messages, error=error)


def evaluated(*pairs, failed=()):
    clips = [Utterance(name, Path(name), reference) for name, reference, _ in pairs]
    clips += [Utterance(name, Path(name), "x") for name in failed]
    shown = {name: transcript(name, messages) for name, _, messages in pairs}
    error = [{"code": "S480", "message": HOSTILE, "causes": [], "hint": None}]
    shown |= {name: transcript(name, None, error) for name in failed}
    speed = Speed(1.0, 1.0, 1, (1,))
    return evaluate(Path("d"), MADE, clips, shown, normalizer("none"), speed)


def test_nothing_that_data_says_is_markup(tmp_path):
    found = evaluated((f"{HOSTILE}.wav", f"a {HOSTILE}", f"b {HOSTILE}"), failed=[f"x{HOSTILE}"])
    text = html_page(found, tmp_path)
    assert text.count("<script") == 1
    assert "alert(1)" not in text.partition("<script>")[2]
    assert text.count("&lt;script&gt;") >= 6


def test_the_page_allows_its_own_script_alone(tmp_path):
    text = html_page(evaluated(("a.wav", "a", "a")), tmp_path)
    (script,) = re.findall("<script>(.*?)</script>", text, re.S)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    (policy,) = re.findall('http-equiv="Content-Security-Policy" content="([^"]+)"', text)
    assert policy.startswith(f"default-src 'none'; script-src 'sha256-{digest}'; ")
    assert "{{" not in text
    assert not re.search(r"https?://", text)


def test_words_with_times_are_places_to_play_from(tmp_path):
    words = [
        {"word": "one", "start": 0.25, "end": 0.5},
        {"word": "two,", "start": 0.5, "end": 1.0},
        {"word": "unknown", "start": 1.0, "end": 1.5},
    ]
    clip = Utterance("a.wav#3", Path("a.wav"), "one two", offset=3.0)
    made = replace(transcript("a.wav#3", "one & two, three"), words=words)
    speed = Speed(1.0, 1.0, 1, (1,))
    found = evaluate(Path("d"), MADE, [clip], {clip.id: made}, normalizer("none"), speed)
    text = html_page(found, tmp_path)
    assert (
        '<span class="hypothesis"><button class="w" data-start="3.250" data-end="3.500">one'
        '</button> &amp; <button class="w" data-start="3.500" data-end="4.000">two,</button> three'
        "</span>" in text
    )


def test_suspicious_texts_are_counted(tmp_path):
    clips = [Utterance(name, Path(name), "a b") for name in ("x.wav", "y.wav")]
    odd = replace(transcript("x.wav", "a a a"), suspicious=["0.00 to 1.00 s: 'a' 9 times in a row"])
    shown = {"x.wav": odd, "y.wav": transcript("y.wav", "a b")}
    speed = Speed(1.0, 1.0, 1, (1,))
    found = evaluate(Path("d"), MADE, clips, shown, normalizer("none"), speed)
    assert report_json(found)["utterances"]["suspicious"] == 1
    row = "suspicious           1   texts that are probably made up, in part or whole"
    assert row in report_text(found).splitlines()
    text = html_page(found, tmp_path)
    assert "suspicious: 0.00 to 1.00 s: &#x27;a&#x27; 9 times in a row" in text
    assert text.count("data-suspicious=") == 1


def test_the_histogram_has_bars_as_high_as_their_counts(tmp_path):
    right = [(f"{n}.wav", "a b c d", "a b c d") for n in range(4)]
    found = evaluated(*right, ("x.wav", "a b c d", "x b c d"), ("y.wav", "a", "x"))
    heights = re.findall(r"<div>(\d+)<i style=\"height:([\d.]+)rem\"></i>([^<]+)</div>",
                         html_page(found, tmp_path))  # fmt: skip
    counts = {label: (int(count), float(height)) for count, height, label in heights}
    assert counts["0 %"] == (4, 8.0)
    assert sorted(counts.values(), reverse=True)[1:3] == [(1, 2.0), (1, 2.0)]
    assert sum(count for count, _ in counts.values()) == 6


def test_each_rate_has_the_interval_of_its_own_counts():
    found = evaluated(("a.wav", "aa bb", "aa bc"), ("b.wav", "c", "c"), ("c.wav", "d e f", "d"))
    words, characters = (
        bootstrap_interval(
            np.array([each.errors for each in counts]), np.array([e.total for e in counts])
        )
        for counts in zip(
            *((each.score.words, each.score.characters) for each in found.scored), strict=True
        )
    )
    assert (found.wer, found.cer) == (words, characters)
    assert found.wer != found.cer


def test_loading_is_no_part_of_the_real_time_factor(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(timing.time, "perf_counter", lambda: now[0])

    class Bundle:
        name = "b"

        def load(self, task):
            now[0] += 50.0

    class Transcriber:
        bundle, task, jobs = Bundle(), "t", 1

        def transcribe(self, clips):
            for name in clips:
                now[0] += 2.0
                yield transcript(name, "x")

    clock = Clock(None, 1)
    assert len(list(run_clips(Transcriber(), ["a", "b"], clock))) == 2
    assert clock.speed() == Speed(2.0, 4.0, 1, (1,))


def test_a_line_is_on_the_disk_before_the_next_clip(tmp_path, monkeypatch):
    synced, true = [], os.fsync

    def fsync(descriptor):
        synced.append(os.fstat(descriptor).st_size)
        true(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    path = tmp_path / "results.jsonl"
    with Journal(path, MADE) as journal:
        for name in ("a", "b"):
            journal.add(transcript(name, "x"))
            assert synced[-1] == path.stat().st_size
    assert len(set(synced)) >= 3  # what made them, and a line each


@pytest.mark.parametrize(
    ("what", "found", "count", "digest"),
    [
        ("fillers", FILLERS[3:-3].split("|"), 20, "b8423490"),
        ("names", NAMES.split("\n")[1:-1], 116, "f5a64742"),
    ],
)
def test_the_lists_of_open_asr_are_whole(what, found, count, digest):
    """The rules are read from two descriptions; no line may be lost from them in passing."""
    made = hashlib.sha256("\n".join(found).encode()).hexdigest()[:8]
    assert (len(found), made) == (count, digest), what
