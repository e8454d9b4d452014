"""What the checker says of components, overrides, sources and variants."""

from inspect import signature

import numpy as np
import pytest

import composer
from composer import ComposerError
from composer.manifest.rules import RESERVED
from composer.sources.shipped import shipped_bundles
from tests.fakes import BUNDLE, Odd, write

pytestmark = pytest.mark.usefixtures("fakes")


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def messages(text, *changes, **kwargs):
    write_here(text, *changes)
    return [str(problem) for problem in composer.check("bundle.yaml", **kwargs).problems]


def write_here(text, *changes):
    from pathlib import Path

    return write(Path(), text, *changes)


def test_a_sound_bundle():
    assert messages(BUNDLE) == []


@pytest.mark.parametrize("name", shipped_bundles())
def test_every_shipped_manifest_is_sound(name):
    report = composer.check(name)
    assert report.bundle.manifest.name == name
    # one checkpoint has the aligner's encoder and its decoder
    expected = {"S476", "L325"} if name == "aligner-mini" else {"S476"}
    assert {problem.code for problem in report.problems} <= expected


@pytest.mark.parametrize(
    ("given", "what"),
    [("[1, 2]", "a list"), ("{a: 1}", "a mapping"), ("3", "the number 3"), ("true", "true")],
)
def test_a_literal_where_a_tensor_belongs(given, what):
    found = messages(BUNDLE, ("{x: $mel}", f"{{x: {given}}}"))
    assert found == [f"bundle.yaml:14:32: W205 widen.x needs a $reference to 'N 2', not {what}"]


@pytest.mark.parametrize("order", ["at base values", "values at base", "base values at"])
def test_the_order_of_wires_is_nothing(order):
    wires = {"base": "$words", "at": "$asked.slots", "values": "$soft"}
    mixed = ", ".join(f"{key}: {wires[key]}" for key in order.split())
    change = ("base: $words, at: $asked.slots, values: $soft", mixed)
    half = ("use: fake.echo", "use: fake.echo, precision: float16")
    assert messages(BUNDLE, change, half) == []
    with composer.load(write_here(BUNDLE, change, half)) as bundle:
        assert [str(crossing) for crossing in bundle.plan().crossings] == [
            "$audio -> mel.audio: audio at its own rate -> audio at 8000 Hz",
            "$soft -> embeds.values: f32 in numpy -> f16 in numpy",
        ]


def test_every_parameter_of_a_run_is_reserved():
    methods = (composer.Bundle.run, composer.Bundle.stream, composer.Bundle.map)
    taken = {name for each in methods for name in signature(each).parameters}
    assert taken - {"self", "inputs", "given"} <= set(RESERVED)


@pytest.mark.parametrize("name", RESERVED)
def test_names_that_a_run_itself_takes(name):
    (found,) = messages(
        BUNDLE, ("line: {type: text", f"{name}: {{type: text"), ("$line", f"${name}")
    )
    assert found == (
        f"bundle.yaml:11:3: M126 '{name}' is reserved for options of a run, so no input can "
        f"have this name\n    hint: reserved: {', '.join(RESERVED)}"
    )


def test_an_input_may_be_called_self():
    path = write_here(BUNDLE, ("line: {type", "self: {type"), ("$line", "$self"))
    clip = (np.arange(16, dtype=np.float32) / 16, 8000)
    with composer.load(path) as bundle:
        assert bundle.run(audio=clip, self="abd").text == "12."


def test_a_precision_is_asked_only_of_who_reads_one():
    assert messages(BUNDLE, precision={"widen": "float16", "ecko": "float16"}) == [
        "bundle.yaml:5:3: W219 precision is given for 'ecko', which is not a component\n"
        "    hint: components: frames, widen, ask, echo",
        "bundle.yaml:6:10: W215 fake.widen does not read 'precision'\n"
        "    hint: it reads: config, emits",
    ]


def test_facts_that_fail_are_no_traceback():
    text = BUNDLE.replace("  echo:", "  odd: {use: fake.odd}\n  echo:")
    assert messages(text) == [
        "bundle.yaml:8:8: W223 fake.odd failed to describe itself: TypeError: unhashable "
        "type: 'list'"
    ]


def test_a_source_stays_in_its_bundle(tmp_path):
    (tmp_path / "bundle").mkdir()
    (tmp_path / "outside").mkdir()
    (tmp_path / "bundle" / "weights").symlink_to(tmp_path / "outside")
    text = BUNDLE.replace("components:", "sources: {w: ./weights}\ncomponents:")
    path = write(tmp_path / "bundle", text)
    (found,) = composer.check(path).problems
    assert str(found) == (
        f"{path}:4:14: S478 the folder of source 'w' is a link that leaves the bundle\n"
        "    hint: copy the files, or use --source"
    )
    assert composer.check(path, sources={"w": tmp_path / "outside"}).ok


def test_a_source_that_is_not_there():
    text = BUNDLE.replace("components:", "sources: {w: ./weights}\ncomponents:")
    assert messages(text) == [
        "bundle.yaml:4:14: S477 the folder of source 'w' does not exist: weights\n"
        "    hint: write it relative to the manifest"
    ]
    assert messages(text, sources={"v": "x", "w": "y"}) == [
        "bundle.yaml:4:10: S475 a folder is given for 'v', which is not a source\n    hint: "
        "sources: w",
        "bundle.yaml:4:14: S477 the folder of source 'w' does not exist: y\n"
        "    hint: a folder given by --source is relative to where you are",
    ]


def test_a_variant_is_named():
    text = BUNDLE + "variants: {odd: {components: {widen: {config: {width: 5}}}}}\n"
    (found,) = messages(text)
    assert " W209 in the variant 'odd': axis 1 of $soft is 5" in found
    with pytest.raises(ComposerError):
        composer.load("bundle.yaml", variant="odd")


def test_a_node_that_reads_itself():
    assert messages(BUNDLE, ("{x: $mel}", "{x: $soft}")) == [
        "bundle.yaml:14:32: W206 'soft' reads itself\n"
        "    hint: a node can use only values defined above it"
    ]


def test_one_slip_is_one_problem():
    first = "  words: {run: echo.embed, with: {ids: $asked.ids}}\n"
    second = "  embeds: {run: scatter, with: {base: $words, at: $asked.slots, values: $soft}}\n"
    (found,) = messages(BUNDLE.replace(first + second, second + first))
    assert " W206 '$words' is not defined above this node" in found


@pytest.mark.parametrize(
    ("facts", "why"),
    [
        (lambda: None, "facts must return Facts, not NoneType"),
        (lambda: composer.Facts({"M": 3}), "dims['M'] must be a Bound, not int"),
    ],
)
def test_facts_that_are_none(facts, why, monkeypatch):
    monkeypatch.setattr(Odd, "facts", classmethod(lambda cls, spec, headers: facts()))
    text = BUNDLE.replace("  echo:", "  odd: {use: fake.odd}\n  echo:")
    assert messages(text) == [
        f"bundle.yaml:8:8: W223 fake.odd failed to describe itself: TypeError: {why}"
    ]


def test_what_is_not_here_does_not_run():
    text = BUNDLE.replace("components:", "sources: {w: hf:a/b}\ncomponents:")
    text = text.replace("echo: {use: fake.echo}", "echo: {use: mlx.lm, weights: w/lm}")
    write_here(text)
    with pytest.raises(ComposerError) as caught:
        composer.load("bundle.yaml")
    assert str(caught.value) == (
        "bundle.yaml:9:3: S473 echo needs w/lm, and its source is not on this machine\n"
        "    hint: composer pull fetches it where there is a network, --source w=FOLDER names "
        "a copy"
    )


def test_a_plan_of_what_is_not_here_says_what_is_missing():
    """Its ports are unknown, in Python as on the command line."""
    found = composer.check("mega-asr").raise_if_refused()
    with pytest.raises(ComposerError, match="S473 encoder needs repo/onnx/audio_encoder_fp32"):
        composer.Bundle(found, composer.Profile()).plan()
