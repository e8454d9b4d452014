"""Group C: hostile safetensors files, as the weights of a bundle that is checked."""

import numpy as np
import pytest
from safetensors.numpy import save

from tests.formats.test_safetensors import HOSTILE
from tests.formats.test_shards import BAD
from tests.hostile.making import STACK, bundle, measured

FILE = "w/model.safetensors"
ONE, FOLDER = STACK.replace("WEIGHTS", FILE), STACK.replace("WEIGHTS", "w")
SOUND = save({"0.weight": np.ones((4, 4), np.float32)})


def test_the_bundle_itself_is_sound(cli, tmp_path):
    assert cli("check", bundle(tmp_path, ONE, {FILE: SOUND}))[0] == 0


@pytest.mark.parametrize(("data", "text"), HOSTILE.values(), ids=HOSTILE)
def test_weights_are_refused(error_text, tmp_path, data, text):
    """C1 to C34, each of which crashes MLX's own loader, or is read by it as something else."""
    messages = error_text(bundle(tmp_path, ONE, {FILE: data}), f"repo/{FILE}")
    code, _, why = text.splitlines()[0].partition(" ")
    assert f"{code} repo/{FILE}: {why}" in messages


@pytest.mark.parametrize(("files", "text"), BAD.values(), ids=BAD)
def test_folders_are_refused(error_text, tmp_path, files, text):
    """C36: an index that names what is missing, outside, or in two files."""
    files = {f"w/{name}": data for name, data in files.items()}
    messages = error_text(bundle(tmp_path, FOLDER, files), "repo/w")
    place, code, why = text.splitlines()[0].split(" ", 2)
    assert (
        f"{code} {place.replace('repo', 'repo/w', 1)} {why.replace('repo/', 'repo/w/')}" in messages
    )


def test_c37_right_names_with_wrong_dims(error_text, tmp_path):
    weights = save({"0.weight": np.ones((4, 3), np.float32)})
    messages = error_text(bundle(tmp_path, ONE, {FILE: weights}), "W209")
    assert "axis 1 of $x is 4 but projector.x needs 3" in messages
    assert f"repo/{FILE}: 0.weight [4, 3]" in messages


@pytest.mark.parametrize(
    ("bad", "precision"), [(np.nan, "float32"), (np.inf, "float32"), (1e6, "float16")]
)
def test_c35_numbers_that_are_none_do_not_load(cli, tmp_path, bad, precision):
    """The header does not show it; a projector is small and is looked through when it loads."""
    weights = np.ones((4, 4), np.float32)
    weights[1, 2] = bad
    manifest = ONE.replace("config:", f"precision: {precision}, config:")
    folder = bundle(tmp_path, manifest, {FILE: save({"0.weight": weights})})
    np.save(tmp_path / "x.npy", np.ones((2, 4), np.float32))
    code, out, err = cli("run", folder, "-i", f"x={tmp_path / 'x.npy'}")
    assert (code, out) == (3, "")
    short = {"float32": "f32", "float16": "f16"}[precision]
    assert f"S479 repo/{FILE}: 0.weight holds numbers that are NaN or infinite in {short}" in err


@pytest.mark.slow
def test_a_header_of_the_largest_size_costs_a_bounded_memory(tmp_path):
    """C5, just below the limit: 10 MB of blanks in a header."""
    header = SOUND[8 : SOUND.index(b"}}") + 2].ljust(10_000_000)
    data = len(header).to_bytes(8, "little") + header + bytes(64)
    code, messages, grown = measured("check", bundle(tmp_path, ONE, {FILE: data}))
    assert (code, messages) == (0, "")
    assert grown < 100_000_000
