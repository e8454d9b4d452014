"""Planes: rows that are multiplied exactly at the speed of int8 kernels."""

import numpy as np
import pytest

from composer.components.onnx import int8_planes
from composer.components.onnx.lm import graph, int8_exactness
from composer.components.onnx.lm.cache import CacheStore
from composer.formats.quantization import Scheme
from composer.generation.decoder import DecoderInput
from tests.components.mlx_lm.models import IDS
from tests.components.onnx_lm.loading import load
from tests.components.onnx_lm.loading import separate_store as distance

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("bits", [4, 8])
def test_three_planes_are_as_near_as_float32_and_fewer_are_not(bits, monkeypatch):
    assert int8_exactness.int8_plane_error(bits) < 1e-6
    for count, least, most in ((1, 2e-3, 3e-2), (2, 1e-5, 2e-4)):
        monkeypatch.setattr(int8_planes, "PLANES", count)
        assert least < int8_exactness.int8_plane_error(bits) < most


@pytest.mark.parametrize("bits", [4, 8])
def test_planes_that_are_not_the_kernels_own_are_noticed(bits, monkeypatch):
    genuine = int8_planes.write_kernel_rounding
    monkeypatch.setattr(
        int8_planes, "write_kernel_rounding", lambda nn, x, scheme: genuine(nn, x, scheme) * 1.001
    )
    assert int8_exactness.int8_plane_error(bits) > 10 * int8_exactness.NEAR


def test_where_planes_are_not_exact_weights_are_unpacked(mixed, monkeypatch):
    exact = load(mixed)
    monkeypatch.setattr(graph, "int8_planes_are_exact", lambda: False)
    unpacked = load(mixed)
    assert (len(exact.decoder.sessions), len(unpacked.decoder.sessions)) == (2, 1)
    embeds = exact.embed(IDS)
    assert 0 < distance(unpacked.logits(embeds), exact.logits(embeds)) < 1e-5


@pytest.mark.parametrize("size", [16, 32, 64, 128])
@pytest.mark.parametrize("bits", [4, 8])
def test_rows_without_a_partner_have_the_same_bits_in_wide_products(bits, size):
    scheme = Scheme(bits, size, "affine")
    if int8_exactness.int8_rows_are_summed_in_pairs(scheme):
        pytest.skip("this processor's kernel takes them in pairs")
    rng = np.random.default_rng(size)
    for outputs, width in ((3072, 1024), (640, 3072), (100, 1152)):
        codes = rng.integers(0, 1 << bits, (outputs, width), np.uint8)

        def write(nn, rows, packed, outputs=outputs, width=width):
            return int8_planes.write_packed_matmul(nn, rows, *packed, outputs, width, scheme)

        multiply = int8_exactness.multiplied(codes, scheme, write)
        x = rng.standard_normal((11, width)).astype(np.float32)
        whole = multiply(x)
        for count in (1, 2, 3, 6, 9):
            np.testing.assert_array_equal(multiply(x[-count:]), whole[-count:])


def test_a_kernel_whose_sums_depend_on_the_rows_is_noticed(monkeypatch):
    genuine = int8_exactness.multiplied

    def one_left_over(*given):
        multiply = genuine(*given)
        return lambda rows: multiply(rows) * np.float32(1 + len(rows) % 2 * 2e-7)

    monkeypatch.setattr(int8_exactness, "multiplied", one_left_over)
    asked = int8_exactness.int8_rows_are_summed_in_pairs.__wrapped__
    assert asked(Scheme(8, 32, "affine"))


@pytest.mark.parametrize("activations", ["float32", "int8"])
def test_a_partner_of_zeros_changes_no_number(mixed, activations, monkeypatch):
    embeds = load(mixed).embed(IDS[:7])
    found = []
    for always in (False, True):
        if always:
            monkeypatch.setattr(graph, "int8_rows_are_summed_in_pairs", lambda scheme: True)
        lm = load(mixed, activations=activations)
        found.append([lm.logits(embeds[:count]) for count in (1, 2, 7)])
    for without, partnered in zip(*found, strict=True):
        np.testing.assert_array_equal(without, partnered)


@pytest.mark.parametrize("rows", [17, 40])
@pytest.mark.parametrize("chunk", [5, 16, 512])
def test_many_rows_leave_the_same_memory_as_few(mixed, rows, chunk, monkeypatch):
    """Rows before and after have the same numbers, whichever session has read them."""
    lm = load(mixed)
    monkeypatch.setattr(lm.decoder, "chunk", chunk)
    ids = np.random.default_rng(0).integers(3, 190, rows + 10)
    embeds = lm.embed(ids)
    few, many = lm.decoder.begin(), lm.decoder.begin()

    def read(start, end, cache, **more):
        return lm.decoder.read({"embeds": embeds[start:end]}, cache, **more)

    read(0, 3, many)
    found = [read(3, rows, many)[0]]
    assert many.length == rows
    found += [read(at, at + 1, many)[0] for at in range(rows, len(embeds))]
    monkeypatch.setattr(lm.decoder, "many", 1000)
    wanted = read(0, len(embeds), few, every=True)[rows - 1 :]
    assert distance(np.stack(found), wanted) < 1e-5
    for name, array in few.arrays.items():
        assert distance(many.arrays[name], array) < 1e-5


def test_the_rows_of_a_prompt_choose_the_kernel(mixed, monkeypatch):
    """From MANY on they have a session of their own, up to the last one, which has a head."""
    lm = load(mixed)
    read = []
    genuine = CacheStore.run

    def run(self, session, caches, rows, *more):
        read.append((session, len(rows["embeds"])))
        genuine(self, session, caches, rows, *more)

    monkeypatch.setattr(CacheStore, "run", run)
    for count in (lm.decoder.many - 1, lm.decoder.many):
        lm.decoder.prefill(DecoderInput({"embeds": lm.embed(IDS.repeat(2)[:count])}))
    assert read == [(0, lm.decoder.many - 1), (1, lm.decoder.many - 1), (0, 1)]


def test_no_weight_is_widened(mixed, monkeypatch):
    """The file has the codes once, and no float32 of a packed module."""
    from composer.components.onnx import weights

    names = []
    genuine = weights.WeightsFile.add

    def add(self, name, dtype, shape, pieces):
        names.append((name, dtype, len(shape)))
        return genuine(self, name, dtype, shape, pieces)

    monkeypatch.setattr(weights.WeightsFile, "add", add)
    load(mixed)
    matrices = {name for name, dtype, axes in names if (dtype, axes) == ("float32", 2)}
    assert {name for name in matrices if not name.endswith(".residual_offset")} == {
        "model.embed_tokens.weight0"
    }
    assert len({name for name, *_ in names if name.endswith(".codes")}) == 4 * 3
