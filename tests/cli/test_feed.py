"""`composer run` with values that are kept, and fed again."""

import json

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from composer.formats.value_file import read_value_file
from tests.fakes import write

pytestmark = pytest.mark.usefixtures("fakes")

SUM = """\
composer: 1
name: places
components: {}
inputs: {ids: ids, at: mask}
graph: {out: {run: fill, with: {ids: $ids, at: $at, value: 7}}}
outputs: {ids: $out}
"""


def test_taps_can_be_fed_again(cli, bundle, clip, tmp_path):
    kept = tmp_path / "taps.safetensors"
    assert cli("run", bundle, "-i", f"audio={clip()}", "--taps", kept)[0] == 0
    with safe_open(kept, "np") as file:
        assert set(file.keys()) == {
            "audio", "mel", "mel.mask", "soft", "asked.ids", "asked.slots", "words", "embeds",
            "answer.ids",
        }  # fmt: skip
        assert file.metadata() == {
            "bundle": "fake-asr",
            "task": "default",
            "rate audio": "8000",
            "text line": "hi",
            "text asked.text": "hi",
            "text answer.text": "7.",
            "text answer.finish_reason": "stop",
        }
    again = tmp_path / "again.safetensors"
    assert cli("run", bundle, "--feed", kept, "--taps", again) == (0, "7.\n", "")
    with safe_open(kept, "np") as one, safe_open(again, "np") as other:
        assert one.metadata() == other.metadata()
        assert set(one.keys()) == set(other.keys())
        for name in one.keys():  # noqa: SIM118
            np.testing.assert_array_equal(one.get_tensor(name), other.get_tensor(name))


def test_a_feed_replaces_only_what_it_names(cli, bundle, clip, tmp_path):
    call = ["run", bundle, "-i", f"audio={clip()}", "--feed", tmp_path / "rows.safetensors"]
    save_file({"words": np.zeros((5, 4), np.float32)}, tmp_path / "rows.safetensors")
    code, _, err = cli(*call)
    assert code == 5
    assert "R501" in err
    save_file({"words": np.zeros((7, 4), np.float32)}, tmp_path / "rows.safetensors")
    assert cli(*call)[:2] == (0, "7.\n")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "S407"),
        (b"\x80\x04\x95 a pickle, so to say", "S406"),
        (None, "R542 the file does not exist"),
    ],
)
def test_a_feed_is_checked_before_it_is_read(cli, bundle, tmp_path, content, message):
    path = tmp_path / "feed.safetensors"
    if content is not None:
        path.write_bytes(content)
    code, out, err = cli("run", bundle, "--feed", path)
    assert (code, out) == (3 if content is not None else 2, "")
    assert f"{path}: {message}" in err


def test_a_feed_that_is_a_folder(cli, bundle, tmp_path):
    code, out, err = cli("run", bundle, "--feed", tmp_path)
    assert (code, out) == (2, "")
    assert f"{tmp_path}: R542 this is not a file" in err


def test_a_feed_of_an_unknown_value(cli, bundle, clip, tmp_path):
    save_file({"sofft": np.zeros((4, 4), np.float32)}, tmp_path / "feed.safetensors")
    code, _, err = cli(
        "run", bundle, "-i", f"audio={clip()}", "--feed", tmp_path / "feed.safetensors"
    )
    assert code == 2
    assert "R544 cannot feed 'sofft'" in err


def test_a_rate_without_a_tensor(cli, bundle, tmp_path):
    path = tmp_path / "feed.safetensors"
    save_file({"soft": np.zeros((4, 4), np.float32)}, path, {"rate audio": "8000"})
    code, _, err = cli("run", bundle, "--feed", path)
    assert code == 2
    assert err == (
        f"{path}: R542 the metadata 'rate audio' is '8000', not the sample rate of a tensor\n"
    )


def test_bfloat16_is_fed_as_float32(tmp_path):
    path = tmp_path / "feed.safetensors"
    header = b'{"soft":{"dtype":"BF16","shape":[1,3],"data_offsets":[0,6]}}'
    numbers = np.array([0x3FC0, 0xBDCD, 0x7F62], "<u2")
    path.write_bytes(len(header).to_bytes(8, "little") + header + numbers.tobytes())
    found = read_value_file(path)["soft"]
    assert found.dtype == np.float32
    assert found.tolist() == [[1.5, -0.10009765625, 226 * 2.0**120]]


def test_numbers(cli, tmp_path):
    path = write(tmp_path, SUM)
    np.save(tmp_path / "at.npy", np.array([True, False, True]))
    save_file({"x": np.array([1, 2, 3], np.int64)}, tmp_path / "ids.safetensors")
    for ids in ("[1, 2, 3]", tmp_path / "ids.safetensors"):
        for at in ("[true, false, true]", tmp_path / "at.npy"):
            code, out, err = cli("run", path, "-i", f"ids={ids}", "-i", f"at={at}", "--json")
            assert (code, err) == (0, "")
            assert json.loads(out)["outputs"] == {"ids": [7, 2, 7]}


@pytest.mark.parametrize(
    "ids", ["1 2 3", "[1.5]", "[[1]]", "[1, [2]]", "nowhere.npy", "[" * 100_000, '["a"]', "{}"]
)
def test_wrong_numbers(cli, tmp_path, ids):
    code, out, err = cli("run", write(tmp_path, SUM), "-i", f"ids={ids}", "-i", "at=[true]")
    assert (code, out) == (2, "")
    assert err.startswith("R542 'ids' ")
    assert len(err) < 400


def test_an_array_whose_header_does_not_end_is_refused(cli, tmp_path):
    """NumPy's parser of a header raises the tokenizer's own errors."""
    head = "('descr': '<i8', 'fortran_order': False, 'shape': (2,), }".ljust(117) + "\n"
    path = tmp_path / "open.npy"
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head.encode())
    code, out, err = cli("run", write(tmp_path, SUM), "-i", f"ids={path}", "-i", "at=[true]")
    assert (code, out) == (2, "")
    assert err.startswith(f"R542 'ids' cannot be read from {path}: ")


@pytest.mark.parametrize("shape", ["(1000000000000,)", "(9223372036854775807, 9)", "(-1,)"])
def test_an_array_that_claims_more_than_its_file_is_refused(cli, bundle, tmp_path, shape):
    head = f"{{'descr': '<i8', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    path = tmp_path / "claim.npy"
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head.encode())
    from composer.cli.values import _numbers
    from composer.core.errors import ComposerError

    with pytest.raises(ComposerError, match="R542 'at' cannot be read from "):
        _numbers("at", str(path))
