"""Two processes on one bundle or one output at once: nothing is lost, torn or left behind."""

import json
import os
import shutil
import subprocess
import sys
import threading

import pytest

import composer
from composer.core import new_folder as folders
from composer.core.errors import ComposerError
from composer.core.output import OutputFile
from composer.manifest.add_variant import add_variant
from composer.sources.shipped import shipped_folder

MINI = shipped_folder("bundles") / "mega-asr-mini"
CLIPS = sorted((MINI / "clips").glob("*.flac"))[:3]
COMPOSER = [sys.executable, "-P", "-m", "composer"]


@pytest.fixture
def own(tmp_path):
    folder = tmp_path / "own"
    shutil.copytree(MINI, folder, ignore=shutil.ignore_patterns("clips"))
    return folder


def together(*commands):
    """Start commands at once; return exit code, stdout and stderr of each."""
    started = [
        subprocess.Popen(
            [*COMPOSER, *map(str, command)],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for command in commands
    ]  # fmt: skip
    found = []
    for process in started:
        out, err = process.communicate(timeout=120)
        assert "Traceback" not in err
        found.append((process.returncode, out, err))
    return found


def names(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_a_bundle_is_locked_by_several_at_once(own):
    before = names(own)
    found = together(*[["lock", own]] * 3)
    assert [code for code, _, _ in found] == [0, 0, 0]
    assert names(own) == sorted([*before, "bundle.lock"])
    data = (own / "bundle.lock").read_bytes()
    assert composer.lock(own).path.read_bytes() == data
    assert not composer.verify(own).problems


def test_one_transcribes_into_a_folder_at_a_time(own, tmp_path):
    out = tmp_path / "out"
    command = ["transcribe", own, *CLIPS, "-o", out, "-f", "jsonl"]
    found = together(command, command)
    assert sorted(code for code, _, _ in found) == [0, 5]
    (refused,) = [err for code, _, err in found if code]
    assert "R507" in refused
    assert len(refused.splitlines()) == 2
    lines = (out / "transcripts.jsonl").read_text().splitlines()
    texts = {line["audio"]: line["text"] for line in map(json.loads, lines)}
    assert len(lines) == len(texts) == len(CLIPS)
    assert list(texts.values()) == [each.text for each in composer.transcribe(own, CLIPS)]
    assert names(out) == [".run.jsonl.jsonl", "transcripts.jsonl"]  # the first is for --resume


@pytest.mark.slow
def test_one_evaluates_into_a_folder_at_a_time(own, tmp_path):
    data = tmp_path / "data.jsonl"
    rows = [{"audio": str(clip), "text": clip.stem} for clip in CLIPS]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    out = tmp_path / "out"
    found = together(*[["eval", own, data, "-o", out]] * 2)
    refused = [err for code, _, err in found if code]
    assert len(refused) < 2  # the second may come when the first is done, and has nothing to do
    assert all("R576 another evaluation is writing its results here" in err for err in refused)
    lines = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    assert len(lines) == 1 + len(CLIPS)
    assert len({line["id"] for line in lines[1:]}) == len(CLIPS)
    assert not [name for name in names(tmp_path) if ".part" in name]


@pytest.mark.slow
@pytest.mark.parametrize("force", [False, True])
def test_a_bundle_is_quantized_into_one_folder_by_several(own, tmp_path, force):
    new = tmp_path / "small"
    command = ["quantize", own, "-o", new, "--precision", "encoder=int8", *["--force"] * force]
    found = together(command, command)
    codes = sorted(code for code, _, _ in found)
    assert codes == [0, 0] if force else codes == [0, 5]
    if not force:
        (refused,) = [err for code, _, err in found if code]
        assert refused.startswith(f"{new}: R507 there is a folder already")
    assert sorted(os.listdir(tmp_path)) == ["own", "small"]
    assert composer.check(new).ok
    assert not composer.verify(new).problems


def test_a_folder_that_comes_to_be_there_is_kept(tmp_path):
    """As when another process was quicker; nothing of the loser stays."""

    def write():
        with folders.new_folder(tmp_path / "a") as part:
            (part / "mine").write_text("mine")
            (tmp_path / "a").mkdir()
            (tmp_path / "a" / "theirs").write_text("theirs")

    with pytest.raises(ComposerError, match="R507 there is a folder already"):
        write()
    assert names(tmp_path) == ["a", "a/theirs"]


def test_a_folder_is_replaced_though_another_comes_between(tmp_path, monkeypatch):
    target = tmp_path / "a"
    (target / "old").mkdir(parents=True)
    rename, calls = folders.Path.rename, []

    def meddled(self, to):
        done = rename(self, to)
        calls.append(to)
        if len(calls) == 1:  # the old folder is away: another process puts its own there
            (target / "theirs").mkdir(parents=True)
        return done

    monkeypatch.setattr(folders.Path, "rename", meddled)
    with folders.new_folder(target, force=True) as part:
        (part / "mine").write_text("mine")
    assert names(tmp_path) == ["a", "a/mine"]


def test_a_file_that_comes_to_be_there_is_kept(tmp_path, monkeypatch):
    """Between the last look and the move, without --force."""
    path = tmp_path / "dump"
    output = OutputFile(path)
    encoded, answers = os.link, []

    def meddled(*arguments, **more):
        path.write_text("theirs")
        answers.append(arguments)
        return encoded(*arguments, **more)

    monkeypatch.setattr(os, "link", meddled)
    with pytest.raises(ComposerError, match="R507 there is a file already"):
        output.write("mine")
    assert answers
    assert path.read_text() == "theirs"
    assert names(tmp_path) == ["dump"]


def test_a_variant_is_added_or_refused(own):
    """Each reads the manifest and writes it anew: without a lock one would lose the other's."""
    refused = []

    def add(name):
        try:
            add_variant(own, name, {"decoder": "float16"})
        except ComposerError as error:
            refused.append((name, str(error)))

    threads = [threading.Thread(target=add, args=(f"v{n}",)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    added = {f"v{n}" for n in range(8)} - {name for name, _ in refused}
    assert added
    assert all("R507 another process is writing here" in error for _, error in refused)
    assert {"mlx", *added} == {*composer.check(own).bundle.manifest.variants}
