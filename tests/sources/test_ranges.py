"""Headers are read from afar: few bytes, few requests, and none of the weights."""

import json
import random
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from composer.formats import read_config, read_safetensors
from composer.sources.hub import HubFiles, files, parse_id, ranges
from composer.sources.hub.ranges import HubRanges
from composer.sources.hub.tree import HubFile
from mirror import Fault, File, Repository
from tests.sources.conftest import refusal, snapshot

CONFIG = b'{"model_type": "qwen3"}'


def safetensors(shapes, pad=0):
    """Return a file of zeros."""
    entries, at = {}, 0
    for name, shape in shapes.items():
        size = 4
        for dim in shape:
            size *= dim
        entries[name] = {"dtype": "F32", "shape": shape, "data_offsets": [at, at + size]}
        at += size
    header = json.dumps({"__metadata__": {"pad": "x" * pad}, **entries}).encode()
    return struct.pack("<Q", len(header)) + header + bytes(at)


WEIGHTS = safetensors({"a.weight": [1000, 300], "b.weight": [7]})
FILES = {
    "llm/config.json": CONFIG,
    "llm/model.safetensors": WEIGHTS,
    "llm/pytorch_model.bin": b"\x80\x02",
    "llm/modeling.py": b"import os",
    "llm/model.onnx": b"\x08\x07",
    "llm/model.onnx_data": b"x",
}
MODEL = "llm/model.safetensors"


def at(inside="", repo="ann/tiny"):
    return snapshot(parse_id(repo)).location("repo", inside)


def test_a_header_is_read_and_no_weights(hub, new_process):
    mirror = hub({"ann/tiny": FILES})
    found = read_safetensors(at("llm"), HubFiles())
    assert {name: tensor.shape for name, tensor in found.items()} == {
        "a.weight": (1000, 300),
        "b.weight": (7,),
    }
    assert [request.range for request in mirror.requests_of("/store/")] == ["bytes=0-65535"]
    new_process()
    mirror.requests.clear()
    assert read_safetensors(at("llm"), HubFiles()).nbytes == found.nbytes
    assert mirror.requests_of("safetensors") == []


def test_shards_are_read_at_once(hub, new_process):
    shards = {
        f"llm/model-0000{n}-of-00004.safetensors": safetensors({f"{n}.weight": [n]}, 9000 * n)
        for n in range(1, 5)
    }
    names = {f"{n}.weight": f"model-0000{n}-of-00004.safetensors" for n in range(1, 5)}
    index = json.dumps({"weight_map": names}).encode()
    mirror = hub({"ann/tiny": shards | {"llm/model.safetensors.index.json": index}})
    assert set(read_safetensors(at("llm"), HubFiles())) == set(names)
    assert len(mirror.requests_of("/resolve/")) == 5
    assert len(mirror.requests_of("/store/")) == 4


def test_a_long_header_takes_two_requests(hub):
    mirror = hub({"ann/tiny": {MODEL: safetensors({"a": [9]}, pad=200_000)}})
    assert set(read_safetensors(at("llm"), HubFiles())) == {"a"}
    assert len(mirror.requests_of("/store/")) == 2
    assert len(mirror.requests_of("/resolve/")) == 1


def test_a_small_file_comes_whole_and_verified(hub, hub_home):
    mirror = hub({"ann/tiny": FILES})
    assert read_config(at("llm"), HubFiles()) == {"model_type": "qwen3"}
    mirror.faults["llm/config.json"] = Fault(status=500)
    assert read_config(at("llm"), HubFiles()) == {"model_type": "qwen3"}
    assert len(list(hub_home.glob("hub/models--*/blobs/*"))) == 1


def test_what_a_repository_holds(hub):
    hub({"ann/tiny": FILES})
    files = HubFiles()
    assert files.kind(at(MODEL)) == "file"
    assert files.kind(at("llm")) == files.kind(at()) == "folder"
    assert files.kind(at("llm/../x")) is None
    assert files.names(at()) == ("llm",)
    assert "modeling.py" in files.names(at("llm"))
    (found,) = refusal(files.open, at("llm/config.jsn"))
    assert "repo/llm/config.jsn does not exist" in found
    assert "did you mean 'repo/llm/config.json'?" in found
    assert refusal(files.names, at("llm/config.json"))


@pytest.mark.parametrize("name", ["modeling.py", "pytorch_model.bin", "model.onnx_data"])
def test_kinds_of_files_that_never_come(hub, name):
    mirror = hub({"ann/tiny": FILES})
    (found,) = refusal(HubFiles().open, at(f"llm/{name}"))
    assert "S417" in found
    assert "is a type of file that is never downloaded" in found
    assert mirror.requests_of(name) == []


def test_the_data_of_an_onnx_file_may_come(hub):
    hub({"ann/tiny": FILES})
    with HubFiles().open(at("llm/model.onnx_data"), within=at("llm")) as found:
        assert found.read(0, 1) == b"x"
    (found,) = refusal(HubFiles().open, at("llm/modeling.py"), within=at("llm"))
    assert "S417" in found


def test_bytes_here_and_there(hub):
    data = bytes(range(256)) * 2000
    mirror = hub({"ann/tiny": {"x.safetensors": data}})
    found = snapshot(parse_id("ann/tiny"))
    with HubRanges(at("x.safetensors"), found, found.files["x.safetensors"]) as opened:
        for start, n in [(5, 7), (300_000, 9), (299_990, 40), (0, 512_000), (511_999, 1), (3, 0)]:
            assert opened.read(start, n) == data[start : start + n]
        assert refusal(opened.read, 511_999, 2)[0].startswith("S419 ")
    assert sum(request.sent for request in mirror.requests if "/store/" in request.path) <= 512_000
    with HubRanges(at("x.safetensors"), found, found.files["x.safetensors"]) as opened:
        mirror.requests.clear()
        assert opened.read(0, 512_000) == data
    assert mirror.requests == []


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_order_of_reads_gives_the_bytes(data):
    """Each byte is asked for once at most, whatever is read in whatever order."""
    size = data.draw(st.integers(1, 400_000))
    content = random.Random(size).randbytes(size)
    opened = HubRanges.__new__(HubRanges)
    opened.file, opened.size = HubFile("x.safetensors", size, "1" * 64), size
    opened.pieces, opened.fetched, opened.requests, opened.end, opened.ahead = [], 0, 0, -1, 65_536
    opened._get = lambda at, length: content[at : at + length]
    for _ in range(data.draw(st.integers(1, 12))):
        offset = data.draw(st.integers(0, size))
        n = data.draw(st.integers(0, size - offset))
        assert opened.read(offset, n) == content[offset : offset + n]
    assert opened.fetched <= size
    assert opened.pieces == sorted(opened.pieces)


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (Fault(ranges=False), "S419"),
        (Fault(body=b"x" * 65536), "S419"),
        (Fault(headers={"Content-Range": "bytes 5-65540/1200100"}), "S419"),
        (Fault(headers={"Content-Range": None}), "S419"),
        (Fault(headers={"X-Linked-Etag": '"../x"'}), "S419"),
        (Fault(headers={"X-Repo-Commit": "0" * 40}), "S419"),
        (Fault(endless=1 << 28, origins=("store",)), "S437"),
        (Fault(longer=5, origins=("store",)), "S437"),
        (Fault(truncate=9, origins=("store",)), "S437"),
        (Fault(cut=9, origins=("store",)), "S498"),
        (Fault(status=503), "S495"),
    ],
)
def test_a_hostile_answer(hub, hub_home, fault, code):
    mirror = hub({"ann/tiny": FILES})
    place = at(MODEL)
    mirror.faults[MODEL] = fault
    (found,) = refusal(read_safetensors, place, HubFiles())
    assert f"{code} " in found
    assert sum(request.sent for request in mirror.requests) < 20_000_000
    assert list(hub_home.glob("**/ranges/*")) == []


def test_a_server_without_ranges_is_of_no_use(hub):
    """Files of the Hub are checked from afar before they are fetched, by composer pull too."""
    mirror = hub({"ann/tiny": FILES})
    mirror.faults[MODEL] = Fault(ranges=False)
    (found,) = refusal(read_safetensors, at(MODEL), HubFiles())
    assert "ignores ranges, so that its header cannot be read alone" in found
    assert found.endswith("fetch the files yourself and name the folder by --source")


def test_a_cut_range_is_asked_for_again(hub):
    mirror = hub({"ann/tiny": FILES})
    place = at(MODEL)
    mirror.faults[MODEL] = [Fault(cut=9, times=1, origins=("store",)), Fault(status=503, times=1)]
    assert len(read_safetensors(place, HubFiles())) == 2


def test_small_files_are_few_enough(hub, monkeypatch):
    mirror = hub({"ann/tiny": {f"{n}/config.json": b'{"n": %d}' % n for n in range(9)}})
    monkeypatch.setattr(files, "MOST_WHOLE", 50)
    afar = HubFiles()
    for n in range(6):
        read_config(at(f"{n}/config.json"), afar)
    (found,) = refusal(read_config, at("6/config.json"), afar)
    assert "S416 more than 5e-08 GB of configs and tokenizers would be read" in found
    assert len(mirror.requests_of("config.json")) == 6


def test_a_header_that_is_refused_is_not_kept(hub, hub_home):
    """What stands between may have answered, and not do so the next time."""
    mirror = hub({"ann/tiny": FILES})
    garbage = struct.pack("<Q", 16) + b"{" * len(WEIGHTS)
    mirror.faults[MODEL] = Fault(swap=garbage, origins=("store",))
    (found,) = refusal(read_safetensors, at(MODEL), HubFiles())
    assert "S412 " in found
    mirror.faults.clear()
    assert len(read_safetensors(at(MODEL), HubFiles())) == 2


def test_a_header_beyond_any_bound(hub, monkeypatch):
    hub({"ann/tiny": FILES})
    monkeypatch.setattr(ranges, "MOST", 1000)
    (found,) = refusal(read_safetensors, at(MODEL), HubFiles())
    assert found.startswith("S416 ")


def test_a_file_of_12_gb_costs_a_header(hub, tmp_path):
    header = json.dumps(
        {"w": {"dtype": "U8", "shape": [1200, 10**7], "data_offsets": [0, 12 * 10**9]}}
    ).encode()
    path = tmp_path / "model.safetensors"
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        file.truncate(8 + len(header) + 12 * 10**9)
    mirror = hub({"ann/huge": Repository({"model.safetensors": File(path, True, "3" * 64)})})
    found = read_safetensors(at("", "ann/huge"), HubFiles())
    assert found.nbytes == 12 * 10**9
    assert mirror.sent < 100_000


def test_kept_ranges_that_are_damaged_are_asked_for_again(hub, hub_home):
    mirror = hub({"ann/tiny": FILES})
    read_safetensors(at("llm"), HubFiles())
    (kept,) = hub_home.glob("assets/composer/*/ranges/*")
    for damage in (b"", b"[[0, 99]]\nxx", b"{}\n", kept.read_bytes()[:-1]):
        kept.write_bytes(damage)
        mirror.requests.clear()
        assert len(read_safetensors(at("llm"), HubFiles())) == 2
        assert mirror.requests_of("/store/")
