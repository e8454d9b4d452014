"""Which clips a corpus has: manifests, folders, patterns and Parquet, each problem at once."""

import json
import wave
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from composer.core.errors import ComposerError
from composer.corpus import packages
from composer.corpus.clip import CorpusClip, ParquetCell
from composer.corpus.data import digest_of, read_corpus
from composer.corpus.parquet import ParquetCellReader
from composer.evaluation.clip_part import ClipPart


def write(path, frames=800):
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 8000, frames, "NONE", ""))
        file.writeframes(bytes(2 * frames))
    return path


def lines(path, *entries):
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries), "utf-8")
    return path


def problems(*data):
    with pytest.raises(ComposerError) as caught:
        read_corpus(data)
    return [str(problem) for problem in caught.value.problems]


def test_a_manifest_needs_no_text_and_no_files(tmp_path):
    path = lines(
        tmp_path / "m.jsonl",
        {"audio_filepath": "a/x.wav", "duration": 1.5},
        {"audio_filepath": "/abs/y.wav", "text": "one", "transcript": "two", "speaker": 3},
        {"audio_filepath": "z#1.wav", "offset": 2, "duration": 0.5, "id": "third"},
        {"audio_filepath": "z.wav", "offset": 2, "id": 4},
    )
    assert read_corpus([path]) == [
        CorpusClip("a/x.wav", tmp_path / "a/x.wav", ClipPart(None, 1.5)),
        CorpusClip("/abs/y.wav", Path("/abs/y.wav")),
        CorpusClip("third", tmp_path / "z#1.wav", ClipPart(2.0, 0.5)),
        CorpusClip("4", tmp_path / "z.wav", ClipPart(2.0, None)),
    ]


def test_csv(tmp_path):
    (tmp_path / "m.CSV").write_text("id,file_name,offset\n1,x.wav,\n2,x.wav,1.5\n")
    assert read_corpus([tmp_path / "m.CSV"]) == [
        CorpusClip("1", tmp_path / "x.wav"),
        CorpusClip("2", tmp_path / "x.wav", ClipPart(1.5, None)),
    ]


def test_folders_clips_and_patterns(tmp_path, monkeypatch):
    for name in ("f/b.wav", "f/in/a.flac", "f/in/notes.txt", "g/1.wav", "g/deep/2.wav", "one.mp3"):
        write(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    found = read_corpus(["f", "g/**/*.wav", "one.mp3", "none.wav"])
    assert [(clip.id, str(clip.audio)) for clip in found] == [
        ("b.wav", "f/b.wav"),
        ("in/a.flac", "f/in/a.flac"),
        ("g/1.wav", "g/1.wav"),
        ("g/deep/2.wav", "g/deep/2.wav"),
        ("one.mp3", "one.mp3"),
        ("none.wav", "none.wav"),  # it fails when it is run
    ]


def test_a_file_with_the_signs_of_a_pattern_is_that_file(tmp_path):
    path = write(tmp_path / "a[1].wav")
    assert [clip.audio for clip in read_corpus([str(path)])] == [path]


def test_all_problems_of_all_data_at_once(tmp_path):
    one = lines(tmp_path / "a.jsonl", {"audio": 3}, {"audio": "x.wav"}, {"sound": "x.wav"})
    two = lines(tmp_path / "b.jsonl", {"audio": "x.wav"}, {"audio": "y.wav", "offset": "soon"})
    assert problems(one, two) == [
        f"{one}:1: R581 'audio' is 3, not text",
        f"{one}:3: R581 no field is the clip; there are: sound\n"
        "    hint: it must be called audio_filepath, audio_path, file_name, audio",
        f"{two}:2: R581 'offset' is \"soon\", not a number of seconds",
        "R583 more than one clip is called x.wav\n"
        "    hint: give each clip an 'id', or name each file once",
    ]


def test_data_that_is_none(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "x.docx").write_text("x")
    kinds = "give a folder, a clip, or a file that ends in .jsonl, .csv, .parquet"
    read = "R580 the data cannot be read:"
    assert problems(tmp_path / "none.jsonl") == [
        f"{tmp_path}/none.jsonl: {read} the file does not exist"
    ]
    assert problems(tmp_path / "none") == [
        f"{tmp_path}/none: {read} the file does not exist\n    hint: {kinds}"
    ]
    assert problems(tmp_path / "x.docx") == [
        f"{tmp_path}/x.docx: {read} it ends in '.docx'\n    hint: {kinds}"
    ]
    assert problems(f"{tmp_path}/*.ogg") == [
        f"{tmp_path}/*.ogg: {read} no file matches the pattern"
    ]
    (text,) = problems(tmp_path / "empty")
    assert text.startswith(f"{tmp_path}/empty: R580 no clip is in the folder\n    hint: clips end")


def test_a_name_with_half_a_character(tmp_path):
    path = lines(tmp_path / "a.jsonl", {"audio": "\ud800.wav"})
    assert problems(path) == ["R581 the name of '\\ud800.wav' is not valid Unicode"]


def test_the_digest_says_which_clips_and_in_which_order(tmp_path):
    a, b = CorpusClip("a", tmp_path / "a"), CorpusClip("b", tmp_path / "b")
    part = CorpusClip("a", tmp_path / "a", ClipPart(1.0, None))
    found = {digest_of(clips) for clips in ([a, b], [b, a], [a], [part, b])}
    assert len(found) == 4
    assert digest_of([a, b]) == digest_of([a, CorpusClip("b", tmp_path / "moved")])


def parquet(path, **columns):
    pq.write_table(pa.table(columns), path, row_group_size=3)
    return path


def test_parquet_with_audio_inside_as_hugging_face_writes_it(tmp_path):
    audio = [{"bytes": f"audio {n}".encode(), "path": f"{n}.wav"} for n in range(8)]
    path = parquet(tmp_path / "d.parquet", audio=audio, sentence=["x"] * 8)
    clips = read_corpus([path])
    assert [clip.id for clip in clips] == [f"{n}.wav" for n in range(8)]
    assert clips[5].audio == ParquetCell(path, "audio", 5)
    reader = ParquetCellReader()
    order = [0, 1, 5, 7, 2, 2, 6]
    assert [reader.load(clips[n]).audio for n in order] == [f"audio {n}".encode() for n in order]


def test_parquet_with_ids_parts_and_plain_bytes(tmp_path):
    path = parquet(
        tmp_path / "d.parquet",
        audio=pa.array([b"a", b"b"], pa.binary()),
        id=[7, 8],
        offset=[None, 1.5],
        duration=[None, 2.0],
    )
    clips = read_corpus([path])
    assert [(clip.id, clip.part) for clip in clips] == [
        ("7", ClipPart()),
        ("8", ClipPart(1.5, 2.0)),
    ]
    assert [ParquetCellReader().load(clip).audio for clip in clips] == [b"a", b"b"]


def test_parquet_of_bytes_alone_names_clips_by_their_rows(tmp_path):
    path = parquet(tmp_path / "d.parquet", audio=pa.array([b"a", None], pa.large_binary()))
    first, second = read_corpus([path])
    assert (first.id, second.id) == ("d.parquet:1", "d.parquet:2")
    with pytest.raises(ComposerError) as caught:
        ParquetCellReader().load(second)
    assert str(caught.value) == f"{path}:2: S480 the row has no audio"


def test_parquet_with_paths(tmp_path):
    path = parquet(tmp_path / "d.parquet", audio_filepath=["x.wav", "in/y.wav"])
    assert read_corpus([path]) == [
        CorpusClip("x.wav", tmp_path / "x.wav"),
        CorpusClip("in/y.wav", tmp_path / "in/y.wav"),
    ]


def test_parquet_whose_cell_has_only_a_path(tmp_path):
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    audio = pa.array([{"bytes": None, "path": "x.wav"}, {"bytes": None, "path": None}], kind)
    first, second = read_corpus([parquet(tmp_path / "d.parquet", audio=audio)])
    assert ParquetCellReader().load(first).audio == tmp_path / "x.wav"
    with pytest.raises(ComposerError, match="S480 the row has no audio"):
        ParquetCellReader().load(second)


def test_parquet_that_is_none(tmp_path):
    path = tmp_path / "d.parquet"
    path.write_bytes(b"PAR1 and no more of it")
    (text,) = problems(path)
    assert text.startswith(f"{path}: R580 the data cannot be read: Parquet magic bytes not found")
    parquet(path, sound=["x.wav"])
    (text,) = problems(path)
    assert text.startswith(f"{path}:1: R581 no field is the clip; there are: ")


def test_without_pyarrow_the_command_that_installs_it_is_named(tmp_path, monkeypatch):
    path = parquet(tmp_path / "d.parquet", audio=["x.wav"])
    monkeypatch.setattr(packages, "find_spec", lambda name: None)
    assert problems(path) == [
        "R585 Parquet needs pyarrow, which is not installed\n"
        "    hint: pip install 'bundle-composer[batch]'"
    ]
