"""The folder of a batch: each row in one file, whenever it ends, and nothing else mixed in."""

import json

import pytest

from composer.core.errors import ComposerError, Problem
from composer.corpus.row import Row, failed_row
from composer.corpus.shard_format import FORMATS, shard_format
from composer.corpus.shards import Shards

IDS = [f"clip-{number}" for number in range(7)]
MADE = {"bundle": {"name": "b"}, "output": {"rows": 3}}


def row(name, **more):
    segment = {"start": 0.0, "end": 1.5, "text": f"é {name}", "channel": 0, "silent": False,
               "suspicious": ["too fast"]}  # fmt: skip
    found = {
        "sha256": "0" * 64, "text": f"é {name}", "language": "English", "duration": 1.5,
        "finish_reason": "stop", "tokens": 3, "notes": [], "segments": [segment],
        "coverage": {"audio": 1.5, "run": 1.5, "silent": 0.0}, "outputs": {"text": name, "n": [1]},
    }  # fmt: skip
    return Row(name, **{**found, **more})


def failed(name):
    return failed_row(name, ComposerError(Problem("S480", "no", causes=("a", "b"), hint="h")))


ROWS = [failed(name) if name == "clip-4" else row(name) for name in IDS]


@pytest.fixture(params=["jsonl", "parquet"])
def shards(tmp_path, request):
    """Return what opens the folder once more."""
    folder = tmp_path / "out"
    folder.mkdir()

    def call(ids=IDS, made_by=MADE):
        found = Shards(folder, FORMATS[request.param], 3, ids, made_by)
        found.open()
        return found

    return call


def files(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture
def whole(shards):
    """Return the files of a run that nothing disturbed, and clear the folder."""
    opened = shards()
    for each in ROWS:
        opened.add(each)
    opened.close()
    found = files(opened.folder)
    for path in opened.folder.iterdir():
        path.unlink()
    return found


def error_text(call, *arguments):
    with pytest.raises(ComposerError) as caught:
        call(*arguments)
    return str(caught.value)


def test_rows_come_back_as_they_were(shards, whole):
    opened = shards()
    for each in ROWS:
        opened.add(each)
    found = list(opened.read())
    assert [path.stem for path, _ in found] == ["part-00000", "part-00001", "part-00002"]
    assert [each for _, rows in found for each in rows] == ROWS
    assert opened.count == 3
    assert files(opened.folder) == whole


@pytest.mark.parametrize("order", [IDS[::-1], [*IDS[3:], *IDS[:3]], [IDS[6], *IDS[1:6], IDS[0]]])
def test_the_order_in_which_rows_come_is_not_seen(shards, whole, order):
    by_id = {each.id: each for each in ROWS}
    opened = shards()
    for name in order:
        opened.add(by_id[name])
    opened.close()
    assert files(opened.folder) == whole


@pytest.mark.parametrize("count", range(len(ROWS)))
def test_a_run_that_ends_after_any_row_is_continued(shards, whole, count):
    opened = shards()
    for each in ROWS[::-1][:count]:
        opened.add(each)
    opened.close()
    again = shards()
    there = {each.id for _, rows in again.read() for each in rows}
    assert there == {each.id for each in ROWS[::-1][:count]}
    for each in ROWS:
        if each.id not in there:
            again.add(each)
    again.close()
    assert files(again.folder) == whole


def test_whatever_of_a_line_is_on_the_disk(shards, whole):
    """A kill in the midst of a line costs that clip alone."""
    opened = shards()
    opened.add(ROWS[0])
    before = opened.journal(0).stat().st_size
    opened.add(ROWS[1])
    opened.close()
    data = opened.journal(0).read_bytes()
    for size in [*range(before, len(data), 40), len(data) - 1]:
        opened.journal(0).write_bytes(data[:size])
        again = shards()
        assert [each.id for _, rows in again.read() for each in rows] == [IDS[0]]
        again.close()
    again = shards()
    assert sum(len(rows) for _, rows in again.read()) == 1
    for each in ROWS[1:]:
        again.add(each)
    again.close()
    assert files(again.folder) == whole


def test_an_end_between_the_shard_and_its_journal(shards, whole):
    opened = shards()
    for each in ROWS[:2]:
        opened.add(each)
    journal = opened.journal(0).read_bytes()
    opened.add(ROWS[2])
    opened.close()
    opened.journal(0).write_bytes(journal + opened.format.write([]))  # as before its unlink
    left = opened.folder / ".part-00001.jsonl.0badcafe.part"  # of a write that was killed
    left.write_bytes(b"half")
    again = shards()
    assert [len(rows) for _, rows in again.read()] == [3]
    assert not left.exists()
    assert not again.journal(0).exists()
    for each in ROWS[3:]:
        again.add(each)
    again.close()
    assert files(again.folder) == whole


def test_a_journal_that_is_complete_becomes_a_shard(shards, whole):
    """The end came after the last row, and before its shard."""
    opened = shards()
    opened._finish = lambda shard: None
    for each in ROWS:
        opened.add(each)
    opened.close()
    again = shards()
    assert [each.id for _, rows in again.read() for each in rows] == IDS
    again.close()
    assert files(again.folder) == whole


def test_rows_that_are_taken_out_are_run_again(shards, whole):
    opened = shards()
    for each in ROWS:
        opened.add(each)
    for path, rows in opened.read():
        bad = [each for each in rows if each.error]
        if bad:
            opened.remove(path, rows, bad)
    opened.close()
    again = shards()
    assert [each.id for _, rows in again.read() for each in rows] == [*IDS[:4], *IDS[5:]]
    again.add(ROWS[4])
    again.close()
    assert files(again.folder) == whole


def test_another_run_is_refused_with_what_differs(shards):
    opened = shards()
    opened.add(ROWS[0])
    opened.close()
    before = files(opened.folder)
    made_by = {"bundle": {"name": "c"}, "output": {"rows": 3}}
    assert error_text(shards, IDS, made_by) == (
        f"{opened.folder}/run.json: R570 these results were made with other settings and cannot be "
        'resumed\n    bundle.name: "b" there, "c" now\n'
        "    hint: use another folder, or delete these"
    )
    assert files(opened.folder) == before


def test_a_folder_of_something_else_is_left_alone(shards, tmp_path):
    (tmp_path / "out" / "letter.txt").write_text("dear")
    assert error_text(shards) == (
        f"{tmp_path}/out: R507 the folder has files of something else: letter.txt\n"
        "    hint: name a new folder, or one that composer batch wrote"
    )
    assert files(tmp_path / "out") == {"letter.txt": b"dear"}


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"batch": 2}', '{"evaluation": 1}'])
def test_another_run_file(shards, tmp_path, text):
    (tmp_path / "out" / "run.json").write_text(text)
    assert error_text(shards) == (
        f"{tmp_path}/out/run.json: R571 this is not the run of a corpus that composer batch wrote\n"
        "    hint: use another folder"
    )


@pytest.mark.parametrize("damage", [b"", b"x\n", b"{}\n", b'{"id": "clip-0", "text": 3}\n'])
def test_a_damaged_shard_is_refused(shards, damage):
    opened = shards()
    for each in ROWS:
        opened.add(each)
    opened.close()
    opened.path(1).write_bytes(damage)
    text = error_text(list, shards().read())
    assert text.startswith(f"{opened.path(1)}: R571 ")
    assert text.endswith("\n    hint: delete it, and its clips will be run again")


def test_rows_of_other_clips_are_refused(shards):
    opened = shards()
    for each in ROWS:
        opened.add(each)
    opened.close()
    opened.path(1).write_bytes(opened.path(0).read_bytes())
    assert error_text(list, shards().read()) == (
        f"{opened.path(1)}: R571 the file has not the rows of these clips\n"
        "    hint: delete it, and its clips will be run again"
    )


def test_lines_are_plain_json_and_parquet_is_read_by_others(tmp_path):
    import pyarrow.parquet

    lines = FORMATS["jsonl"].write(ROWS).decode().splitlines()
    assert json.loads(lines[0])["text"] == "é clip-0"
    assert json.loads(lines[4]) == {
        "id": "clip-4", "sha256": None,
        "error": [{"code": "S480", "severity": "error", "message": "no", "file": None,
                   "line": None, "column": None, "causes": ["a", "b"], "hint": "h"}],
    }  # fmt: skip
    path = tmp_path / "x.parquet"
    path.write_bytes(FORMATS["parquet"].write(ROWS))
    table = pyarrow.parquet.read_table(path)
    assert table.num_rows == 7
    assert table.column("text").to_pylist() == [each.text for each in ROWS]
    assert json.loads(table.column("outputs")[0].as_py()) == {"text": "clip-0", "n": [1]}
    assert table.column("segments")[0].as_py() == ROWS[0].segments
    assert table.column("error").null_count == 6


def test_an_unknown_format(tmp_path):
    assert error_text(shard_format, "parket") == (
        "R544 there is no format of shards 'parket'; did you mean 'parquet'?"
    )


def test_a_name_with_half_a_character_can_be_written():
    problem = Problem("S480", "no file x\udcff", causes=("y\ud800",))
    found = FORMATS["jsonl"].write([failed_row("a", ComposerError(problem))])
    assert json.loads(found)["error"][0]["message"] == "no file x?"
