"""A locked decoder is packed once: what the next load maps gives the same numbers."""

import os
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

import composer
from composer.components.onnx.lm import prepared
from composer.core.errors import ComposerError
from composer.core.placement import Placement
from composer.core.prepared_files import ENTRY, PreparedFiles, entries, keep_prepared_files
from composer.runtime.profile import Profile
from composer.sources.hub import settings
from tests.components import test_onnx_gemma4 as gemma4
from tests.components.mlx_lm.models import IDS, SCHEMES, greedy, quantized, torch_model
from tests.components.onnx_lm.loading import load

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setattr(prepared, "SMALLEST", 0)
    made = PreparedFiles(tmp_path / "prepared", "source", 10**9)
    with keep_prepared_files(made):
        yield made


@pytest.fixture
def written(monkeypatch):
    """List the folders that weights are written down into."""
    found = []
    genuine = prepared.kept_weights

    def kept(folder, nbytes):
        found.append(folder.name)
        return genuine(folder, nbytes)

    monkeypatch.setattr(prepared, "kept_weights", kept)
    return found


def numbers(lm):
    """Return logits of a long prompt, of single steps, and greedy ids."""
    embeds = lm.embed(np.tile(IDS, 4))
    return lm.logits(embeds), lm.replay(embeds, np.array(IDS)), greedy(lm, embeds, 12)


def assert_same(found, wanted):
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("scheme", [None, "mixed 8-4"])
def test_the_second_load_packs_nothing_and_has_the_same_numbers(
    tmp_path, store, written, scheme, folder
):
    if scheme:
        folder = quantized(torch_model(), tmp_path / "packed", *SCHEMES[scheme])
    with keep_prepared_files(None):
        wanted = numbers(load(folder))
    assert_same(numbers(load(folder)), wanted)
    assert len(written) == 1
    (entry,) = entries(store.folder)
    assert {"weights.bin", "prepared0.bin", "prepared0.onnx"} < set(os.listdir(entry.folder))
    assert entry.folder.stat().st_mode & 0o777 == 0o700
    assert_same(numbers(load(folder)), wanted)
    assert len(written) == 1


def test_what_lies_beside_the_weights_makes_no_step_longer(folder, store):
    """A call that reads many bytes runs beside the caller's thread, and one token never should."""
    with keep_prepared_files(None):
        wanted = [each.nbytes for each in load(folder).decoder.sessions]
    for _ in range(2):
        assert [each.nbytes for each in load(folder).decoder.sessions] == wanted


@pytest.mark.parametrize("kind", ["e2b", "31b"])
def test_gemma4_is_prepared_as_well(tmp_path, store, written, kind):
    folder = gemma4.save(gemma4.torch_model(kind), tmp_path / kind)
    one, other = gemma4.load(folder), gemma4.load(folder)
    assert len(written) == 1
    small = one.table is not None
    assert_same(
        [other.logits(*gemma4.given(other, small))], [one.logits(*gemma4.given(one, small))]
    )


def test_another_form_is_another_entry(tmp_path, store, written, monkeypatch):
    folder = quantized(torch_model(num_hidden_layers=1), tmp_path / "packed", *SCHEMES["mixed 8-4"])
    for activations in ("float32", "int8", "float32"):
        load(folder, activations=activations)
    assert len(written) == len(entries(store.folder)) == 2
    with keep_prepared_files(replace(store, source="other weights")):
        load(folder)
    monkeypatch.setattr(prepared, "_kernels", lambda: "another processor")
    load(folder)
    assert len(written) == len(entries(store.folder)) == 4


@pytest.mark.parametrize(
    "name", ["prepared0.bin", "weights.bin", "prepared0.onnx", "decoder0.onnx"]
)
def test_what_was_written_since_is_prepared_anew(folder, store, written, name):
    """As a tool writes that sets the time of the last change back: the length is the same."""
    wanted = numbers(load(folder))
    (entry,) = entries(store.folder)
    path = entry.folder / name
    before, data = path.stat(), bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x10
    path.write_bytes(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert_same(numbers(load(folder)), wanted)
    assert len(written) == 2


@pytest.mark.parametrize("content", [None, b"", b"{", b"[]", b'{"weights.bin": 3}'])
def test_an_entry_that_was_not_finished_is_none(folder, store, written, content):
    load(folder)
    (entry,) = entries(store.folder)
    (entry.folder / ENTRY).unlink()
    if content is not None:
        (entry.folder / ENTRY).write_bytes(content)
    load(folder)
    assert len(written) == 2


def test_no_more_is_kept_than_the_limit(folder, store, written, monkeypatch):
    load(folder)
    (first,) = entries(store.folder)
    os.utime(first.folder, (1, 1))
    (store.folder / "unfinished-1").mkdir()
    os.utime(store.folder / "unfinished-1", (1, 1))
    monkeypatch.setattr(prepared, "_kernels", lambda: "another processor")
    with keep_prepared_files(replace(store, limit=int(1.5 * first.nbytes))):
        load(folder)
    (second,) = entries(store.folder)
    assert second.folder != first.folder
    assert os.listdir(store.folder) == [second.folder.name]
    monkeypatch.setattr(prepared, "_kernels", lambda: "a third")
    with keep_prepared_files(replace(store, limit=1000)):
        load(folder)
    assert len(written) == 2


def test_a_disk_without_room_keeps_nothing(folder, store, written, monkeypatch):
    full = SimpleNamespace(free=1000)
    monkeypatch.setattr("composer.core.prepared_files.shutil.disk_usage", lambda path: full)
    assert len(numbers(load(folder))) == 3
    assert written == []


def test_a_failed_load_leaves_nothing(folder, store, monkeypatch):
    monkeypatch.setattr(prepared.WeightsFile, "close", lambda self: [self.folder / "none.onnx"])
    with pytest.raises(ComposerError, match="R532"):
        load(folder)
    assert os.listdir(store.folder) == []


def bundle(folder, home):
    """Write a bundle of a decoder, as an author would."""
    home.mkdir()
    folder.rename(home / "lm")
    (home / "bundle.yaml").write_text(
        "composer: 1\nname: decode\nsources: {repo: ./lm}\n"
        "components: {decoder: {use: onnx.lm, weights: repo}}\n"
        "inputs: {ids: ids}\n"
        "graph:\n  words:  {run: decoder.embed, with: {ids: $ids}}\n"
        "  answer: {run: decoder.generate, with: {embeds: $words, max_tokens: 4}}\n"
        "outputs: {ids: $answer.ids}\n"
    )
    return home


def test_only_what_the_user_has_locked_is_prepared(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(prepared, "SMALLEST", 0)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    home = bundle(folder, tmp_path / "own")
    kept = settings.notes_folder() / "prepared"

    def run(**placed):
        with composer.load(home, profile=Profile(Placement(**placed))) as loaded:
            return loaded.run(ids=np.array(IDS)).outputs["ids"].tolist()

    wanted = run()
    assert entries(kept) == []
    composer.lock(home)
    assert run(prepared_gb=0.0) == wanted
    assert entries(kept) == []
    assert run() == wanted
    assert len(entries(kept)) == 1
    assert run() == wanted
    monkeypatch.setenv("HF_HOME", str(tmp_path / "someone else's"))  # the lock came with it
    assert run() == wanted
    assert not (settings.notes_folder() / "prepared").exists()
