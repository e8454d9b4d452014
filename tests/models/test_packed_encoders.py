"""Encoders and projectors whose matrices are packed: at load, on disk, and on every backend."""

import json
import shutil
import subprocess
import sys
from fnmatch import fnmatchcase

import mlx.core as mx
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import composer
from composer.components.mlx import linear
from composer.core.quantization_recipe import QuantizationRecipe, QuantizationRule
from tests.models import test_gemma4_audio as gemma4
from tests.models import test_qwen3_asr_audio as qwen3
from tests.models.backends import BACKENDS
from tests.models.meralion import reference as meralion

pytestmark = pytest.mark.usefixtures("one_thread")
FOUR = QuantizationRecipe(4, 32, name="four")
MIXED = QuantizationRecipe(
    8, 32, {"*fc?": QuantizationRule(5, 32), "3": QuantizationRule(3, 32)}, name="m"
)
MANIFEST = """\
composer: 1
name: packed
sources: {{repo: ./repo}}
components: {{it: {{use: {backend}.{kind}, weights: repo/{weights}, config: {config}}}}}
inputs: {{x: {{type: tensor, port: {port}}}}}
graph: {{rows: {{run: it, with: {{{key}: $x}}}}}}
outputs: {{rows: $rows}}
"""
LAYERS = "{layers: [layer_norm, linear, silu, linear, rms_norm]}"


def stack(folder):
    draw = np.random.default_rng(2)
    shapes = {"0.weight": 64, "0.bias": 64, "1.weight": (96, 64), "1.bias": 96,
              "3.weight": (40, 96), "4.weight": 40}  # fmt: skip
    weights = {name: draw.normal(0.2, 0.4, shape).astype("f4") for name, shape in shapes.items()}
    folder.mkdir()
    save_file(weights, folder / "projector.safetensors")
    return draw.normal(size=(9, 64)).astype("f4")


def published(folder, write=meralion.published):
    write(folder, meralion.Reference())
    shape = (meralion.MELS, 2 * meralion.WINDOW)
    return np.random.default_rng(5).normal(0, 0.7, shape).astype("f4")


def ported(folder):
    return published(folder, meralion.ported)


def qwen3_(folder):
    qwen3.make_model(qwen3.make_tokenizer()).save_pretrained(folder)
    return qwen3.features(1.3)


def gemma4_(folder):
    theirs = gemma4.reference.Gemma4Audio()
    theirs.write(folder)
    return gemma4.features(theirs, 1.0)


KINDS = {  # by name: what is written, the kind, the weights, the port, its config
    "stack": (stack, "stack", "it/projector.safetensors", "f32 N 64", "x", LAYERS),
    "published": (published, "meralion", "it", "f32 80 F", "mel", "{}"),
    "ported": (ported, "meralion", "it", "f32 80 F", "mel", "{}"),
    "gemma4": (gemma4_, "gemma4_audio", "it", "f32 F M", "mel", "{}"),
    "qwen3": (qwen3_, "qwen3_asr_audio", "it", "f32 128 F", "mel", "{}"),
}


@pytest.fixture(scope="module", params=KINDS)
def kind(request, tmp_path_factory):
    write, *_ = KINDS[request.param]
    folder = tmp_path_factory.mktemp(request.param)
    (folder / "repo").mkdir()
    return request.param, folder, write(folder / "repo" / "it")


def bundle(kind, backend):
    name, folder, _ = kind
    _, use, weights, port, key, config = KINDS[name]
    text = MANIFEST.format(
        backend=backend, kind=use, weights=weights, port=port, key=key, config=config
    )
    path = folder / f"{backend}.yaml"
    path.write_text(text)
    return path


def rows(path, x, **options):
    with composer.load(path, **options) as loaded:
        return np.asarray(loaded.run(x=x).outputs["rows"], np.float32)


def unpacked(folder, target, recipe):
    """Write the same checkpoint with the numbers that MLX's codes stand for, unpacked."""
    shutil.copytree(folder, target)
    count = 0
    for file in target.glob("*.safetensors"):
        weights = load_file(file)
        for name, value in weights.items():
            path, _, part = name.rpartition(".")
            if part != "weight" or value.ndim != 2 or "embed_positions" in name:
                continue
            size, bits = recipe.group_size, recipe.bits
            for glob, rule in recipe.rules.items():
                bits = rule.bits if fnmatchcase(path.rpartition(".")[2], glob.strip("*")) else bits
            if value.shape[1] % size or name.startswith(("model.language_model.", "lm_head")):
                continue
            parts = mx.quantize(mx.array(value), group_size=size, bits=bits)
            weights[name] = np.array(mx.dequantize(*parts, group_size=size, bits=bits))
            count += 1
        save_file(weights, file, metadata={"format": "pt"})
    return count


@pytest.mark.parametrize("recipe", [FOUR, MIXED], ids=lambda recipe: recipe.name)
@pytest.mark.parametrize("backend", BACKENDS)
def test_packed_at_load_and_on_disk_are_what_the_codes_stand_for(kind, tmp_path, backend, recipe):
    name, folder, x = kind
    if recipe is MIXED and name not in ("stack", "ported"):
        pytest.skip("one encoder and one projector are enough for rules and odd bits")
    path = bundle(kind, backend)
    asked = {"it": recipe}
    found = rows(path, x, precision=asked)
    made = composer.quantize(path, tmp_path / "new", precision=asked)
    assert (rows(made.path, x) == found).all()
    (tmp_path / "plain/repo").mkdir(parents=True)
    modules = unpacked(folder / "repo/it", tmp_path / "plain/repo/it", recipe)
    packed = [group for group in made.weights["it"] if group.packed]
    assert sum(group.modules for group in packed) == modules > 0
    shutil.copy(path, tmp_path / "plain/bundle.yaml")
    want = rows(tmp_path / "plain/bundle.yaml", x)
    scale = abs(want).max()
    assert abs(found - want).max() <= 1e-5 * scale
    assert abs(found - rows(path, x)).max() > 1e-3 * scale  # a recipe that did nothing would pass


def test_what_a_plan_lists(kind):
    lines = {}
    for backend in BACKENDS:
        report = composer.check(bundle(kind, backend), precision={"it": MIXED})
        lines[backend] = report.bundle.components["it"].facts
    assert lines["numpy"].casts
    assert "not run packed" in "".join(lines["numpy"].casts)
    assert not any(group.packed for group in lines["numpy"].weights)
    assert not lines["mlx"].casts
    assert lines["mlx"].nbytes < lines["numpy"].nbytes


WIDE, DEEP = 2048, 12
PEAKS = """
import sys
import numpy as np
import composer

def peak():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) << 10 for line in file if line.startswith("VmHWM"))

peaks = []
for path, width in zip(sys.argv[1:], (64, 2048), strict=True):
    with composer.load(path) as bundle:
        bundle.run(x=np.ones((64, width), "f4"))
    peaks.append(peak())
print(peaks[1] - peaks[0])
"""


def write_wide(folder, bits, width=WIDE, depth=DEEP):
    """Write a stack of square matrices, packed in so many bits, or in float32."""
    (folder / "repo").mkdir(parents=True)
    weights = {}
    for number in range(depth):
        if bits == 32:
            weights[f"{number}.weight"] = np.full((width, width), (number + 1) / width, "f4")
            continue
        codes = np.full((width, width * bits // 32), 0x77777777 + number, "u4")
        scales = np.full((width, width // 64), 1e-3, "f4")
        parts = {"weight": codes, "scales": scales, "biases": -7 * scales}
        weights |= {f"{number}.{part}": value for part, value in parts.items()}
    save_file(weights, folder / "repo/it.safetensors")
    packing = {"quantization": {"group_size": 64, "bits": bits, "mode": "affine"}}
    (folder / "repo/config.json").write_text(json.dumps(packing if bits < 32 else {}))
    layers = f"{{layers: [{', '.join(['linear'] * depth)}]}}"
    text = MANIFEST.format(
        backend="onnx", kind="stack", weights="it.safetensors",
        port=f"f32 N {width}", key="x", config=layers,
    )  # fmt: skip
    (folder / "bundle.yaml").write_text(text)
    return folder / "bundle.yaml"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak from Linux")
def test_peak_memory_has_no_widened_copy(tmp_path):
    """A first bundle takes what the libraries take; float32 shows what widening would add."""
    least, count = write_wide(tmp_path / "least", 32, 64, 1), DEEP * WIDE * WIDE

    def peak(bits):
        path = write_wide(tmp_path / f"of {bits}", bits)
        command = [sys.executable, "-c", PEAKS, str(least), str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return int(done.stdout)

    assert peak(4) < 2.2 * count
    assert peak(8) < 3 * count
    assert peak(32) > 4 * count


def test_mlx_multiplies_packed_rows_elsewhere_than_on_linux(kind, monkeypatch):
    path, x = bundle(kind, "mlx"), kind[2]
    want = rows(path, x, precision={"it": FOUR})
    monkeypatch.setattr(linear, "multiplies_with_numpy", lambda: False)
    found = rows(path, x, precision={"it": FOUR})
    assert abs(found - want).max() <= 1e-5 * abs(want).max()


@pytest.fixture(scope="module")
def projector(tmp_path_factory):
    folder = tmp_path_factory.mktemp("refused")
    (folder / "repo").mkdir()
    return bundle(("stack", folder, stack(folder / "repo" / "it")), "onnx")


def problems(path, recipe):
    return "\n".join(map(str, composer.check(path, precision={"it": recipe}).problems))


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        (
            QuantizationRecipe(4, 32, mode="mxfp4"),
            "an encoder is packed in the affine form",
        ),
        (
            QuantizationRecipe(4, 32, {"*fc9": QuantizationRule(8, 32)}),
            "the glob '*fc9' in precision matches no module with a matrix",
        ),
        (QuantizationRecipe(4, 64), "3 has 96 columns, not a multiple of the group size 64"),
        (
            QuantizationRecipe(4, 128, name="wide"),
            "precision is a recipe that quantizes nothing\n"
            "    1 has 64 columns, which its groups do not divide",
        ),
    ],
    ids=["mode", "glob", "columns", "groups"],
)
def test_what_cannot_be_packed_is_refused(projector, recipe, message):
    assert f"W246 repo/it/projector.safetensors: {message}" in problems(projector, recipe)


def test_low_bits_and_what_stays_are_warned_of(projector):
    assert "precision packs 2 matrices of an encoder in fewer" in problems(projector, FOUR)
    assert problems(projector, QuantizationRecipe(8, 32, name="eight")) == ""
    assert "L337 warning: int8 leaves as stored what its groups " in problems(projector, "int8")


def test_packed_already_is_not_packed_again(projector, tmp_path):
    made = composer.quantize(projector, tmp_path / "new", precision={"it": FOUR})
    assert "precision is a recipe, but 2 modules are quantized already" in problems(made.path, FOUR)
    config = json.loads((tmp_path / "new/repo/it/config.json").read_text())
    assert config["quantization"] == {"group_size": 32, "bits": 4, "mode": "affine"}
    origins = json.loads((tmp_path / "new/quantization.json").read_text())["tensors"]["repo/it"]
    assert origins["1.scales"]["packed"] == "4 bits, groups of 32"
    assert composer.verify(tmp_path / "new").problems == ()
