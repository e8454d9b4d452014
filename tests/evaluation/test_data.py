import json
import wave

import numpy as np
import pytest

from composer.core.errors import ComposerError
from composer.evaluation.data import read_data
from composer.sources.shipped import shipped_folder


@pytest.fixture
def clip(tmp_path):
    """Write a WAV of so many frames at 8 kHz."""

    def write(name, frames=8000):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with wave.open(str(path), "wb") as file:
            file.setparams((1, 2, 8000, frames, "NONE", ""))
            file.writeframes((np.arange(1, frames + 1, dtype="<i2") % 99).tobytes())
        return path

    return write


def lines(path, *entries):
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries), "utf-8")
    return path


def error_text(path, *arguments):
    with pytest.raises(ComposerError) as caught:
        read_data(path, *arguments)
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("audio", "text"),
    [
        ("audio_filepath", "text"),  # NeMo
        ("audio_path", "answer"),  # Voices-in-the-Wild-Bench
        ("file_name", "transcription"),  # audiofolder
        ("audio", "text"),  # the shipped clips
        ("audio", "sentence"),
        ("audio", "normalized_text"),
        ("audio", "transcript"),
    ],
)
def test_jsonl(tmp_path, clip, audio, text):
    clip("x/a.wav")
    path = lines(
        tmp_path / "d.jsonl", {audio: "x/a.wav", text: "said", "lang": "en", "n": 1, "l": []}
    )
    (found,) = read_data(path)
    assert (found.id, found.path, found.reference) == ("x/a.wav", tmp_path / "x/a.wav", "said")
    assert found.fields == {"lang": "en", "n": "1"}


def test_the_line_of_the_bench(tmp_path, clip):
    clip("audio/a.wav")
    line = {
        "index": 0, "audio_path": "audio/a.wav", "question": "Please transcribe.", "answer": "hi",
        "subset": "sim-en-noise", "source_scenes": ["noise"], "global_severity": 0.25, "name": "a",
        "prediction": "",
    }  # fmt: skip
    (found,) = read_data(lines(tmp_path / "d.jsonl", line))
    assert (found.reference, found.fields["subset"]) == ("hi", "sim-en-noise")


def test_the_shipped_clips():
    found = read_data(shipped_folder("bundles") / "mega-asr-mini" / "clips" / "references.jsonl")
    assert len(found) == 12
    assert found[0].fields["condition"] == "clean"


def test_blank_lines_a_mark_and_empty_texts(tmp_path, clip):
    clip("a.wav")
    (tmp_path / "d.jsonl").write_bytes(b'\xef\xbb\xbf\n{"audio": "a.wav", "text": ""}\n\n')
    assert [each.reference for each in read_data(tmp_path / "d.jsonl")] == [""]


@pytest.mark.parametrize("name", ["metadata.csv", "metadata.jsonl"])
def test_a_folder_with_metadata(tmp_path, clip, name):
    clip("b.wav")
    clip("in/a.wav")
    if name.endswith("csv"):
        text = 'file_name,transcription\nin/a.wav,"one, two"\nb.wav,three\n'
        (tmp_path / name).write_text(text)
    else:
        rows = [("in/a.wav", "one, two"), ("b.wav", "three")]
        lines(tmp_path / name, *({"file_name": f, "transcription": t} for f, t in rows))
    found = read_data(tmp_path)
    assert [(each.id, each.reference) for each in found] == [
        ("in/a.wav", "one, two"), ("b.wav", "three"),
    ]  # fmt: skip


def test_a_folder_of_pairs(tmp_path, clip):
    for name in ("b", "a", "in/c"):
        clip(f"{name}.wav")
        (tmp_path / f"{name}.txt").write_text(f"{name} said\n")
    found = read_data(tmp_path)
    assert [(each.id, each.reference) for each in found] == [
        ("a.wav", "a said"), ("b.wav", "b said"), ("in/c.wav", "in/c said"),
    ]  # fmt: skip


def test_parts_of_one_file(tmp_path, clip):
    clip("a.wav", 16000)
    parts = [(0, 0.5), (0.5, 1.5)]
    path = lines(
        tmp_path / "d.jsonl",
        *({"audio_filepath": "a.wav", "text": "x", "offset": o, "duration": d} for o, d in parts),
    )
    first, second = read_data(path)
    assert (first.id, second.id) == ("a.wav#0+0.5", "a.wav#0.5+1.5")
    assert [first.audio().frames, second.audio().frames] == [4000, 12000]
    whole = np.concatenate([first.audio().samples, second.audio().samples])
    np.testing.assert_array_equal(whole * 2**15, np.arange(1, 16001) % 99)


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        ({"duration": 1.2}, "the clip is stated at 0 to 1.2 s"),
        ({"duration": 0.5}, "0.5 s are stated"),
        ({"offset": 0.5, "duration": 1}, "the clip is stated at 0.5 to 1.5 s"),
        ({"offset": 2}, "the clip is stated at 2 to 1 s"),
        ({"offset": 0.5, "duration": 0}, "the clip is stated at 0.5 to 0.5 s"),
    ],
)
def test_a_length_that_is_not_stated_so(tmp_path, clip, stated, message):
    clip("a.wav")
    (found,) = read_data(lines(tmp_path / "d.jsonl", {"audio": "a.wav", "text": "x", **stated}))
    with pytest.raises(ComposerError) as caught:
        found.audio()
    assert str(caught.value) == (
        f"{tmp_path}/a.wav: R573 the file has 1.00 s, and {message}\n"
        "    hint: correct the duration, or use the right file"
    )


def test_a_length_may_be_rounded(tmp_path, clip):
    clip("a.wav")
    line = {"audio": "a.wav", "text": "x", "duration": "1.05"}
    assert read_data(lines(tmp_path / "d.jsonl", line))[0].audio().frames == 8000


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "the line cannot be read: Expecting property name enclosed in double quotes: line 1 "
              "column 2 (char 1)"),
        ("[]", "the line is a list, not an object"),
        ('{"audio": "a.wav", "text": "x", "text": "y"}', "the line cannot be read: a key occurs "
         "twice"),
        ('{"text": "x"}', "no field is the clip; there are: text\n    hint: it must be called "
                          "audio_filepath, audio_path, file_name, audio"),
        ('{"audio": "a.wav"}', "no field is the reference; there are: audio\n    hint: it must be "
                               "called text, sentence, normalized_text, transcript, transcription, "
                               "answer"),
        ('{"audio": "a.wav", "text": "x", "sentence": "y"}', "several fields could be the "
         "reference: text, sentence\n    hint: choose one by --text"),
        ('{"audio": "a.wav", "file_name": "a.wav", "text": "x"}', "several fields could be the "
         "clip: file_name, audio\n    hint: keep one"),
        ('{"audio": "a.wav", "text": null}', "'text' is null, not text"),
        ('{"audio": {"path": "a.wav"}, "text": "x"}', "'audio' is {\"path\": \"a.wav\"}, not text"),
        ('{"audio": "", "text": "x"}', "'audio' is empty"),
        ('{"audio": "a.wav", "text": "x", "duration": true}', "'duration' is true, not a number "
         "of seconds"),
        ('{"audio": "a.wav", "text": "x", "offset": -1}', "'offset' is -1, not a number of "
         "seconds"),
        ('{"audio": "a.wav", "text": "x", "offset": NaN}', "'offset' is NaN, not a number of "
         "seconds"),
    ],
)  # fmt: skip
def test_lines_that_cannot_be_used(tmp_path, clip, line, message):
    clip("a.wav")
    path = tmp_path / "d.jsonl"
    path.write_text('{"audio": "a.wav", "text": "x"}\n' + line + "\n")
    assert error_text(path) == [f"{path}:2: R581 {message}"]


def test_the_reference_may_be_named(tmp_path, clip):
    clip("a.wav")
    path = lines(tmp_path / "d.jsonl", {"audio": "a.wav", "text": "x", "spoken": "y"})
    assert read_data(path, "spoken")[0].reference == "y"
    assert error_text(path, "spokn") == [
        f"{path}:1: R581 no field is the reference; there are: audio, text, spoken\n"
        "    hint: did you mean 'spoken'?"
    ]


def test_every_bad_line_is_reported_up_to_a_number(tmp_path):
    path = tmp_path / "d.jsonl"
    path.write_text("1\n" * 40)
    assert len(error_text(path)) == 16


def test_a_row_of_another_width(tmp_path, clip):
    clip("a.wav")
    path = tmp_path / "d.csv"
    path.write_text("audio,text\na.wav,one, two\n")
    assert error_text(path) == [
        f"{path}:2: R581 the first row has 2 columns, but this one does not"
    ]


def test_a_column_that_comes_twice(tmp_path):
    path = tmp_path / "d.csv"
    path.write_text("audio,text,text\na.wav,one,two\n")
    assert error_text(path) == [f"{path}:1: R581 a column's name occurs twice"]


def test_clips_that_are_missing(tmp_path, clip):
    clip("a.wav")
    path = lines(tmp_path / "d.jsonl", *({"audio": f"{n}.wav", "text": "x"} for n in "abc"))
    assert error_text(path) == [
        f"{path}:2: R582 2 of 3 clips do not exist: {tmp_path}/b.wav, {tmp_path}/c.wav, "
        "lines 2, 3\n"
        "    hint: paths are relative to the file that names them"
    ]


def test_an_utterance_that_is_there_twice(tmp_path, clip):
    clip("a.wav")
    path = lines(tmp_path / "d.jsonl", *[{"audio": "a.wav", "text": "x"}] * 2)
    assert error_text(path) == [
        f"{path}:1: R583 more than one line is for a.wav, lines 1, 2\n"
        "    hint: an utterance counts once: remove the other lines"
    ]


def test_what_is_left_over_in_a_folder(tmp_path, clip):
    clip("a.wav")
    clip("a.flac")
    clip("b.wav")
    (tmp_path / "a.txt").write_text("x")
    (tmp_path / "c.txt").write_text("x")
    assert error_text(tmp_path) == [
        f"{tmp_path}: R583 several clips share one text: a.flac, a.wav",
        f"{tmp_path}: R584 there is no text file for b.wav",
        f"{tmp_path}: R584 there is no clip for c.txt",
    ]
    lines(tmp_path / "metadata.jsonl", {"file_name": "a.wav", "text": "x"})
    assert error_text(tmp_path) == [
        f"{tmp_path}: R584 metadata.jsonl has no line for a.flac, b.wav\n"
        "    hint: add a line for each clip, or move the clip out"
    ]
    (tmp_path / "metadata.csv").write_text("file_name,text\n")
    assert error_text(tmp_path) == [
        f"{tmp_path}: R580 there are both metadata.jsonl and metadata.csv\n"
        "    hint: give the one to read"
    ]


def test_no_data(tmp_path, clip):
    assert error_text(tmp_path / "no") == [
        f"{tmp_path}/no: R580 the data cannot be read: the file does not exist"
    ]
    (tmp_path / "d.jsonl").write_text("\n")
    assert error_text(tmp_path / "d.jsonl") == [f"{tmp_path}/d.jsonl: R580 it has no utterances"]
    clip("a.wav")
    message = (
        f"{tmp_path}: R580 the folder has no clips with a text each, and no metadata\n    hint: "
    )
    assert error_text(tmp_path) == [f"{message}name the file: {tmp_path}/d.jsonl"]
    (tmp_path / "d.jsonl").unlink()
    assert error_text(tmp_path) == [
        f"{message}give a JSONL file, a folder with metadata.jsonl, or one with a .txt beside each "
        "clip"
    ]
    (tmp_path / "d.jsonl").write_bytes(b'{"audio": "\xff"}')
    assert "R580 the data cannot be read: it is not UTF-8" in error_text(tmp_path / "d.jsonl")[0]


def test_offsets_that_are_near_are_distinguished(tmp_path, clip):
    clip("a.wav")
    near = [{"audio": "a.wav", "text": "x", "offset": at} for at in (12345.61, 12345.64)]
    found = read_data(lines(tmp_path / "d.jsonl", *near))
    assert [each.id for each in found] == ["a.wav#12345.61", "a.wav#12345.64"]


def test_one_clip_by_two_names(tmp_path, clip):
    path = clip("a.wav")
    for other in ("./a.wav", str(path)):
        rows = [{"audio": name, "text": "x"} for name in ("a.wav", other)]
        (shown,) = error_text(lines(tmp_path / "d.jsonl", *rows))
        assert f"R583 more than one line is for a.wav, {other}, lines 1, 2\n" in shown


def test_one_clip_by_a_link_or_from_its_start(tmp_path, clip):
    (tmp_path / "b.wav").symlink_to(clip("a.wav"))
    for other in ({"audio": "b.wav"}, {"audio": "a.wav", "offset": 0}):
        rows = [{**row, "text": "x"} for row in ({"audio": "a.wav"}, other)]
        (shown,) = error_text(lines(tmp_path / "d.jsonl", *rows))
        assert "R583 more than one line is for a.wav, " in shown


def test_a_path_that_no_file_can_have(tmp_path):
    for name in ("a" * 5000, "a\0.wav"):
        (shown,) = error_text(lines(tmp_path / "d.jsonl", {"audio": name, "text": "x"}))
        assert "R582 1 of 1 clips do not exist" in shown


def test_a_duration_beyond_floats(tmp_path, clip):
    clip("a.wav")
    path = lines(tmp_path / "d.jsonl", {"audio": "a.wav", "text": "x", "duration": 10**400})
    (shown,) = error_text(path)
    assert "R581 'duration' is 1000" in shown


def test_less_than_a_sample(tmp_path, clip):
    clip("a.wav")
    row = {"audio": "a.wav", "text": "x", "offset": 0.5, "duration": 1e-9}
    (found,) = read_data(lines(tmp_path / "d.jsonl", row))
    with pytest.raises(ComposerError, match=r"R573 .* 1e-09 s are stated, which is less than a"):
        found.audio()


@pytest.mark.parametrize("change", [{"text": "\ud800"}, {"k": "\udfff"}, {"\ud800": "k"}])
def test_halves_of_characters(tmp_path, clip, change):
    """JSON can name them, and no file of results could hold them."""
    clip("a.wav")
    path = lines(tmp_path / "d.jsonl", {"audio": "a.wav", "text": "x", **change})
    assert error_text(path) == [
        f"{path}: R581 the name or the text of 'a.wav' is not valid Unicode"
    ]


def test_a_name_that_is_no_unicode(tmp_path, clip):
    clip("d/b.wav").rename(tmp_path / "d" / "b\udcff.wav")
    (tmp_path / "d" / "b\udcff.txt").write_text("x")
    (shown,) = error_text(tmp_path / "d")
    assert "R581 the name or the text of 'b\\udcff.wav' is not valid Unicode" in shown


def test_no_two_clips_have_one_id(tmp_path, clip):
    """A name may look like another's part, and offsets may differ after the twelfth digit."""
    for name in ("a.wav", "a.wav#1", "a.wav%231", "a.wav#1+1"):
        clip(name, 24_000)
    close = 1 + 2**-40
    rows = [
        {"audio": "a.wav", "text": "x", "offset": 1},
        {"audio": "a.wav", "text": "x", "offset": close},
        {"audio": "a.wav", "text": "x", "offset": 1.5, "duration": 1},
        {"audio": "a.wav#1", "text": "x"},
        {"audio": "a.wav%231", "text": "x"},
        {"audio": "a.wav#1+1", "text": "x"},
    ]
    ids = [each.id for each in read_data(lines(tmp_path / "d.jsonl", *rows))]
    assert ids[:3] == ["a.wav#1", f"a.wav#{close!r}", "a.wav#1.5+1"]
    assert len(set(ids)) == len(rows)


def test_two_hard_links_are_one_clip(tmp_path, clip):
    (tmp_path / "b.wav").hardlink_to(clip("a.wav"))
    rows = ({"audio": name, "text": "x"} for name in ("a.wav", "b.wav"))
    (problem,) = error_text(lines(tmp_path / "d.jsonl", *rows))
    assert "R583" in problem
    assert "a.wav, b.wav" in problem
    assert "several names are one file, by links" in problem
