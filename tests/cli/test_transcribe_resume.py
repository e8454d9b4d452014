"""`composer transcribe --resume` knows its transcripts by their audio and their settings."""

import json
import shutil

import pytest

AGAIN = "its audio is not that of the earlier transcript, and it was transcribed again"
pytestmark = [
    pytest.mark.usefixtures("fakes"),
    pytest.mark.parametrize("format", ["txt", "jsonl"]),
]


@pytest.fixture
def call(cli, bundle, tmp_path, format):
    """Transcribe into a folder; return the exit code, stderr and the names of the clips run."""

    def run(*arguments, **more):
        done = cli("transcribe", bundle, "-f", format, "-o", tmp_path / "out", *arguments)
        return done[0], done[2]

    return run


@pytest.fixture
def ran(monkeypatch):
    """Collect the clips that are run."""
    from composer.runtime.bundle import Bundle

    found, map_ = [], Bundle.map

    def spy(self, items, **given):
        def seen():
            for item in items:
                found.append(str(item["audio"]))
                yield item

        return map_(self, seen(), **given)

    monkeypatch.setattr(Bundle, "map", spy)
    return found


@pytest.fixture
def texts(tmp_path, format):
    """Return the transcripts of the folder by the clips' names."""

    def read():
        folder = tmp_path / "out"
        if format == "txt":
            return {path.stem: path.read_text().strip() for path in folder.glob("*.txt")}
        lines = map(json.loads, (folder / "transcripts.jsonl").read_text("utf-8").splitlines())
        return {line["audio"].rsplit("/", 1)[-1][:-4]: line.get("text") for line in lines}

    return read


def test_only_what_is_not_there_is_run(call, clip, tmp_path, ran, texts):
    first, broken, last = clip("a.wav"), tmp_path / "b.wav", clip("c.wav", frames=4)
    assert call(first, broken)[0] == 5
    clip("b.wav", frames=6)
    ran.clear()
    assert call(first, broken, last, "--resume") == (0, "")
    assert ran == [str(broken), str(last)]
    assert texts() == {"a": "7.", "b": "6.", "c": "5."}
    ran.clear()
    assert call(first, broken, last, "--resume") == (0, "")
    assert ran == []


def test_a_clip_under_the_name_of_another_is_done_again_with_a_note(call, clip, ran, texts):
    one, two = clip("a.wav"), clip("b.wav")
    assert call(one, two) == (0, "")
    clip("a.wav", frames=4)
    ran.clear()
    assert call(one, two, "--resume") == (0, f"{one}: {AGAIN}\n")
    assert (ran, texts()) == ([str(one)], {"a": "5.", "b": "7."})
    assert call(one, two, "--resume") == (0, "")


def test_a_touched_clip_of_the_same_bytes_is_not_done_again(call, clip, ran, tmp_path):
    one = clip("a.wav")
    assert call(one)[0] == 0
    shutil.copyfile(one, tmp_path / "copy")
    shutil.copyfile(tmp_path / "copy", one)
    ran.clear()
    assert call(f"{tmp_path}/./a.wav", "--resume") == (0, "")
    assert ran == []


def test_a_deleted_transcript_is_written_again(call, clip, tmp_path, texts, format):
    one, two = clip("a.wav"), clip("b.wav")
    assert call(one, two)[0] == 0
    name = "a.txt" if format == "txt" else "transcripts.jsonl"
    (tmp_path / "out" / name).unlink()
    assert call(one, two, "--resume") == (0, "")
    assert texts() == {"a": "7.", "b": "7."}


@pytest.mark.parametrize(
    ("more", "differs"),
    [
        (["--set", "answer.max_tokens=2"], "settings.answer.max_tokens: 3 there, 2 now"),
        (["-i", "line=ho"], 'inputs.line: "hi" there, "ho" now'),
        (["--channel", "left"], 'audio.channel: "mix" there, "left" now'),
        (["--partial"], "audio.partial: false there, true now"),
    ],
)
def test_other_settings_are_not_resumed(call, clip, tmp_path, more, differs, texts, format):
    one, two = clip("a.wav"), clip("b.wav")
    assert call(one)[0] == 0
    code, err = call(one, two, "--resume", *more)
    assert code == 5
    assert err.splitlines() == [
        f"{tmp_path}/out/.run.{format}.jsonl: R570 these results were made with other settings "
        "and cannot be resumed",
        f"    {differs}",
        "    hint: use another folder, or delete these",
    ]
    assert texts() == {"a": "7."}


def test_another_manifest_is_not_resumed(call, clip, bundle):
    one = clip("a.wav")
    assert call(one)[0] == 0
    bundle.write_text(bundle.read_text() + "\n# changed\n")
    code, err = call(one, "--resume")
    assert (code, "    bundle.manifest: " in err) == (5, True)


def test_what_no_run_wrote_is_neither_kept_nor_replaced(call, clip, tmp_path, format):
    one = clip("a.wav")
    (tmp_path / "out").mkdir()
    mine = tmp_path / "out" / ("a.txt" if format == "txt" else "transcripts.jsonl")
    mine.write_text('{"audio": "x", "text": "by hand"}\n')
    place = f"{mine}:1" if format == "jsonl" else mine
    code, err = call(one, "--resume")
    assert (code, mine.read_text()) == (5, '{"audio": "x", "text": "by hand"}\n')
    assert err.splitlines() == [
        f"{place}: R507 no run is known that wrote this as it is, and --resume would keep or "
        "replace it",
        "    hint: take another folder, move it out, or replace it by --force in place of --resume",
    ]


def test_a_transcript_mended_by_hand_outlives_its_audio(call, clip, tmp_path, format):
    one = clip("a.wav")
    assert call(one)[0] == 0
    mine = tmp_path / "out" / ("a.txt" if format == "txt" else "transcripts.jsonl")
    mine.write_text(mine.read_text().replace("7.", "seven."))
    mended = mine.read_text()
    if format == "txt":  # a line of a file of lines is known by its bytes alone
        assert call(one, "--resume") == (0, "")
    clip("a.wav", frames=4)
    code, err = call(one, "--resume")
    assert (code, "R507 no run is known" in err, mine.read_text()) == (5, True, mended)


def test_another_file_is_not_taken_for_transcripts(call, clip, tmp_path, format):
    memory = tmp_path / "out" / f".run.{format}.jsonl"
    memory.parent.mkdir()
    memory.write_text("notes\n")
    code, err = call(clip(), "--resume")
    assert (code, memory.read_text()) == (5, "notes\n")
    assert err.splitlines() == [
        f"{memory}:1: R571 this is not what composer transcribe remembers of its runs",
        "    hint: remove the file, or take another folder",
    ]
    if format == "jsonl":
        memory.unlink()
        (tmp_path / "out" / "transcripts.jsonl").write_text("notes\n")
        assert "R507 these are no transcripts" in call(clip(), "--resume")[1]


def test_lines_that_a_killed_run_left_half_are_done_again(call, clip, tmp_path, ran, texts, format):
    one, two = clip("a.wav"), clip("b.wav")
    assert call(one, two)[0] == 0
    memory = tmp_path / "out" / f".run.{format}.jsonl"
    whole = memory.read_bytes()
    if format == "jsonl":
        lines = tmp_path / "out" / "transcripts.jsonl"
        lines.write_bytes(lines.read_bytes()[:-9])
    else:
        (tmp_path / "out" / "b.txt").unlink()
    memory.write_bytes(whole[:-9])
    ran.clear()
    assert call(one, two, "--resume") == (0, "")
    assert (ran, texts()) == ([str(two)], {"a": "7.", "b": "7."})
    assert memory.read_bytes() == whole or format == "jsonl"  # a line has its time


def test_two_clips_of_one_name_do_not_replace_each_other(call, clip, tmp_path, texts, format):
    one, two = clip("x/a.wav"), clip("y/a.wav", frames=4)
    assert call(one)[0] == 0
    code, err = call(two, "--resume")
    if format == "jsonl":
        assert (code, len((tmp_path / "out/transcripts.jsonl").read_text().splitlines())) == (0, 2)
        return
    assert (code, texts()) == (2, {"a": "7."})
    assert f"{one} and {two} would both be written to" in " ".join(err.split())
