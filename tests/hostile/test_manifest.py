"""Group B: hostile manifests, each refused with its line before anything else is read."""

import json

import numpy as np
import pytest
from safetensors.numpy import save

from composer.sources.shipped import shipped_folder
from tests.hostile.conftest import is_downloaded
from tests.hostile.making import STACK, bundle

GOOD = STACK.replace("WEIGHTS", "w/model.safetensors")
BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{chr(98 + n)}: &{chr(98 + n)} [{', '.join(['*' + chr(97 + n)] * 9)}]\n" for n in range(8)
)
MERGE = "a0: &a0 {k: 1}\n" + "".join(
    f"a{n}: &a{n} {{<<: [{', '.join(f'*a{n - 1}' for _ in range(20))}]}}\n" for n in range(1, 60)
)


def with_(old: str, new: str) -> str:
    assert old in GOOD
    return GOOD.replace(old, new, 1)


HOSTILE = {
    "B1 aliases that multiply": (BOMB, "1:4: M107"),
    "B2 merge keys that multiply": (MERGE, "1:5: M107"),
    "B3 an anchor that holds itself": ("a: &x [*x]\n", "1:4: M107"),
    "B4 20000 brackets": ("[" * 20_000, ": M102 nested more than 32 levels"),  # libyaml says where
    "B5 a mapping 3000 deep": ("\n".join(" " * n + "a:" for n in range(3000)), " M101"),
    "B5 a mapping 700 deep": ("\n".join(" " * n + "a:" for n in range(700)), "33:33: M102"),
    "B6 a scalar of 50 MB": ("a: " + "x" * 50_000_000, " M101"),
    "B7 300 000 keys": ("".join(f"k{n}: 1\n" for n in range(300_000)), " M101"),
    "B8 an integer of 100 000 digits": ("a: " + "9" * 100_000, "1:4: M112"),
    "B9 a Python tag": ("a: !!python/object/apply:os.system [id]\n", "1:4: M108"),
    "B10 a key twice": (with_("outputs:", "name: other\noutputs:"), "9:1: M104"),
    "B11 a tab": (with_("  y: {run", "\ty: {run"), "8:1: M105"),
    "B12 a NUL": (with_("hostile", "host\0ile"), "2:11: M103"),
    "B12 a BEL": (with_("hostile", "host\aile"), "2:11: M103"),
    "B13 no UTF-8": (GOOD.encode().replace(b"hostile", b"host\xffile"), "2:11: M103"),
    "B14 two documents": (GOOD + "---\n" + GOOD, "10:1: M109"),
    "B15 empty": ("", "1:1: M110"),
    "B16 a scalar": ("hello\n", "1:1: M111"),
    "B17 a list": ("- hello\n", "1:1: M111"),
    "B18 no for a name": (with_("name: hostile", "name: no_"), "2:7: M1"),
    "B19 0777 for a name": (with_("name: hostile", "name: 0777"), "2:7: M123"),
    "B20 12:30:45 for a version": (with_("composer: 1", "composer: 12:30:45"), "1:11: M1"),
    "B21 1.10 for a version": (with_("composer: 1", "composer: 1.10"), "1:11: M1"),
    "B22 .nan": (with_("layers: [linear]", "layers: [linear], rms_norm_eps: .nan"), "M112"),
    "B23 1e999": (with_("layers: [linear]", "layers: [linear], rms_norm_eps: 1e999"), "M112"),
    "B28 a key misspelt": (with_("outputs:", "ouputs:"), "9:1: M121"),
    "B29 an unknown kind": (with_("mlx.stack", "mlx.stak"), "5:20: W212"),
    "B30 a cycle": (
        with_("graph:\n", "graph:\n  z: {run: projector, with: {x: $y}}\n"),
        "8:33: W206",
    ),
    "B31 an edge to nothing": (with_("{x: $x}", "{x: $q}"), "8:33: W206"),
    "B32 a node that reads itself": (with_("{x: $x}", "{x: $y}"), "8:33: W206"),
    "B33 up": (with_("repo/w/model.safetensors", "repo/../../etc/passwd"), "M128"),
    "B34 absolute": (with_("repo/w/model.safetensors", "/etc/passwd"), "M128"),
    "B34 a source above": (with_("{repo: ./}", "{repo: ../}"), "M127"),
    "B35 home": (with_("repo/w/model.safetensors", "~/x.safetensors"), "M128"),
    "B36 file://": (with_("repo/w/model.safetensors", "file:///etc/passwd"), "M128"),
    "B36 http:// as a source": (with_("{repo: ./}", '{repo: "http://169.254.169.254/x"}'), "M127"),
    "B38 a dim of -1": (with_("f32 N 4", "f32 N -1"), "M136"),
    "B41 version 99": (with_("composer: 1", "composer: 99"), "1:11: M120"),
    "B43 an adapter's scale": (
        with_(
            "layers: [linear]}",
            "layers: [linear]}, adapters: {speech: {weights: repo/a, scale: 1.0e30}}",
        ),
        "M124",
    ),
    "B44 a text of 1 MB": (with_("hostile\n", f"hostile\nsummary: {'x' * 100_000}\n"), "M1"),
}
JSON = {
    "B24 NaN": ('{"composer": NaN}', "1:14: M112"),
    "B24 1e999": ('{"composer": 1e999}', "1:14: M112"),
    "B10 a key twice": ('{"composer": 1, "composer": 2}', "1:17: M104"),
    "B42 nested 200 000 deep": ("[" * 200_000, "M102"),
}


@pytest.mark.parametrize(("text", "messages"), HOSTILE.values(), ids=HOSTILE)
def test_a_manifest_is_refused(error_text, tmp_path, text, messages):
    folder = bundle(
        tmp_path, "", {"bundle.yaml": text if isinstance(text, bytes) else text.encode()}
    )
    assert messages in error_text(folder, "bundle.yaml")


@pytest.mark.parametrize(("text", "messages"), JSON.values(), ids=JSON)
def test_json_is_refused(error_text, tmp_path, text, messages):
    (tmp_path / "bundle.json").write_text(text)
    assert messages in error_text(tmp_path, "bundle.json")


@pytest.mark.parametrize(
    "data",
    [GOOD.encode("utf-16"), GOOD.encode("utf-8-sig"), GOOD.replace("\n", "\r\n").encode()],
    ids=["B25 UTF-16", "B26 a byte order mark", "B27 CRLF"],
)
def test_other_encodings_are_read(error_text, tmp_path, data):
    """As far as the weights, which are not there."""
    assert "S401 " in error_text(bundle(tmp_path, "", {"bundle.yaml": data}), "repo/w")


@pytest.mark.parametrize("dim", [0, 2**63], ids=["B37 a dim of 0", "B39 a dim of 2^63"])
def test_a_dim_that_no_weights_have(error_text, tmp_path, dim):
    weights = save({"0.weight": np.ones((4, 4), np.float32)})
    text = with_("f32 N 4", f"f32 N {dim}")
    messages = error_text(bundle(tmp_path, text, {"w/model.safetensors": weights}), "bundle.yaml")
    assert f"W209 axis 1 of $x is {dim} but projector.x needs 4" in messages


def test_b40_widths_that_do_not_meet_are_seen_before_weights_are_read(error_text, tmp_path):
    """The weights are a header, and a hole where gigabytes would be."""
    path = tmp_path / "w" / "model.safetensors"
    header = {"0.weight": {"dtype": "F32", "shape": [1280, 3584],
                           "data_offsets": [0, 1280 * 3584 * 4]}}  # fmt: skip
    text = json.dumps(header).encode()
    bundle(tmp_path, GOOD, {"w/model.safetensors": len(text).to_bytes(8, "little") + text})
    with path.open("ab") as file:
        file.truncate(8 + len(text) + 1280 * 3584 * 4)
    messages = error_text(tmp_path, "W209 axis 1 of $x is 4 but projector.x needs 3584")
    assert f"3584 comes from repo/{path.relative_to(tmp_path)}: 0.weight [1280, 3584]" in messages


def test_nothing_is_fetched_for_a_source_by_another_scheme(error_text, tmp_path):
    for source in ("http://x/y", "git+ssh://x/y", "s3://x/y", "hf:../x", "hf:a/b/c"):
        text = GOOD.replace("{repo: ./}", f'{{repo: "{source}"}}')
        assert "M127 " in error_text(bundle(tmp_path, text, {}), "bundle.yaml:3:")
    assert list(is_downloaded(tmp_path)) == ["bundle.yaml"]


def test_b43_more_tokens_than_anyone_waits_for(error_text, tmp_path):
    mini = shipped_folder("bundles") / "mega-asr-mini"
    text = (
        (mini / "bundle.yaml").read_text().replace("max_tokens: 128", "max_tokens: 1000000000000")
    )
    folder = bundle(tmp_path, text, {})
    messages = error_text(folder, "bundle.yaml", "--source", f"repo={mini}")
    assert "W216 option 'max_tokens' should be less than or equal to 1000000" in messages
