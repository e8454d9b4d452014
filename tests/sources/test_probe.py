"""What crashes, or takes all there is, does it in a child; the component is named."""

import sys

import pytest

import composer
from composer import Component, Facts, method
from composer.core import registry
from composer.runtime import sandbox as probe
from tests.sources.conftest import MINI, mini, refusal
from tests.sources.test_ranges import safetensors

BUNDLE = """\
composer: 1
name: weighed
sources: {own: ./}
components:
  weights: {use: fake.weighed, weights: own/model.safetensors}
inputs: {line: text}
graph: {heard: {run: weights, with: {text: $line}}}
outputs: {text: $heard}
"""
LOADED = []


class WithWeights(Component, name="fake.weighed"):
    """A component with weights."""

    requires = frozenset({"weights"})

    @classmethod
    def facts(cls, spec, headers):
        if headers is None:
            return Facts(unknown=True)
        return Facts(nbytes=headers.safetensors(spec.weights).nbytes)

    @classmethod
    def load(cls, spec, facts, placement):
        LOADED.append(spec.weights.path)
        return cls()

    @method(text="text", returns="text")
    def __call__(self, text):
        return text.upper()


@pytest.fixture(autouse=True)
def with_weights():
    registry.register_component(WithWeights)
    LOADED.clear()
    yield
    registry.unregister_component("fake.weighed")


@pytest.fixture
def child(hub, monkeypatch, tmp_path_factory):
    """Serve the bundle and let a script stand for the child; return how often it was begun."""
    hub(
        {"ann/tiny": {"bundle.yaml": BUNDLE.encode(), "model.safetensors": safetensors({"a": [9]})}}
    )
    begun = []

    def stand_in(script):
        folder = tmp_path_factory.mktemp("child")
        (folder / "stand_in.py").write_text(script)
        monkeypatch.setenv("PYTHONPATH", str(folder))
        monkeypatch.setattr(probe, "MODULE", "stand_in")
        request = {"memory": 4 * 10**9, "seconds": LIMIT}
        monkeypatch.setattr(probe, "_request", lambda *given: begun.append(1) or request)
        return begun

    return stand_in


LIMIT = 60
ANSWER = (
    "from composer.core.child_process import answer_questions; "
    "answer_questions(lambda *_: ({}, {{}}))"
)
DONE = ANSWER.format("{}")


def test_a_bundle_is_tried_once(child, new_process):
    begun = child(DONE)
    with composer.load("ann/tiny") as bundle:
        assert bundle.run(line="yes").text == "YES"
    assert begun == [1]
    new_process()
    with composer.load("ann/tiny"):
        pass
    assert begun == [1]
    assert len(LOADED) == 2


def test_trust_tries_nothing(child):
    begun = child("raise SystemExit(1)")
    with composer.load("ann/tiny", trust=True) as bundle:
        assert bundle.run(line="yes").text == "YES"
    assert begun == []


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("import os; os.abort()", "S454 weights (fake.weighed) crashed while own/model.safetensors "
         "was loaded (signal 6)"),
        ("import os; os.kill(os.getpid(), 11)", "(signal 11)"),
        ("raise SystemExit(9)", "(status 9)"),
        ("print('done')", "(status 0)"),
        ("print('x' * 2_000_000)", "S454 "),
        (ANSWER.format("no_such_name"), "(status 1)"),
        (f"raise SystemExit({probe.MEMORY_GONE})", "S455 weights (fake.weighed) needs more than "
         "4 GB of memory while own/model.safetensors was loaded"),
    ],
)  # fmt: skip
def test_a_crash_names_the_component(child, script, message):
    child(script)
    (found,) = refusal(composer.load, "ann/tiny")
    assert "bundle.yaml:5:3: " in found
    assert message in found
    assert LOADED == []


def test_a_child_is_given_no_token(child, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_x")
    monkeypatch.setenv("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")
    child("import os; raise SystemExit(9 if 'HF_TOKEN' in os.environ else 8)")
    (found,) = refusal(composer.load, "ann/tiny")
    assert "(status 8)" in found


def test_a_hang_is_ended(child, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "LIMIT", 0.3)
    child("import time; time.sleep(600)")
    (found,) = refusal(composer.load, "ann/tiny")
    assert "S455 weights (fake.weighed) took longer than 0 s" in found
    assert "hint: composer pull --trust spares it this trial" in found


def test_what_the_child_refuses_is_raised_as_it_is(child):
    messages = {
        "code": "R504",
        "message": "no",
        "place": ["x", 1, None],
        "causes": ["c"],
        "hint": None,
    }
    child(ANSWER.format({"problems": [messages]}))
    assert refusal(composer.load, "ann/tiny") == ["x:1: R504 no\n    c"]


def test_a_component_that_this_process_alone_knows_cannot_be_tried(child, hub_home):
    messages = {"code": "W212", "message": "no", "place": None, "causes": [], "hint": None}
    begun = child(ANSWER.format({"problems": [messages]}))
    with composer.load("ann/tiny") as bundle:
        assert bundle.run(line="yes").text == "YES"
    assert begun == [1]
    assert list(hub_home.glob("assets/composer/probed/*")) == []


def test_limits_grow_with_the_weights():
    small, large = (probe.load_limits(size, probe.SECONDS) for size in (0, 10**10))
    assert small == (4 * 10**9, 300)
    assert large == (34 * 10**9, 800)


@pytest.mark.slow
@pytest.mark.parametrize("own", [True, False])
def test_a_real_child_loads_the_miniature(hub, hub_home, tmp_path, own):
    hub({"ann/mini": mini()})
    name = "ann/mini"
    if not own:
        name = tmp_path / "bundle.yaml"
        name.write_text((MINI / "bundle.yaml").read_text().replace("repo: ./", "repo: hf:ann/mini"))
    with composer.load(name) as bundle:
        assert bundle.run(audio=str(next(MINI.rglob("*.flac")))).text
    assert len(list(hub_home.glob("assets/composer/probed/*"))) == 1


@pytest.mark.slow
def test_a_real_child_ends_at_its_limit(hub, monkeypatch):
    hub({"ann/mini": mini()})
    monkeypatch.setattr(probe, "load_limits", lambda *_: (60_000_000, 60))
    (found,) = refusal(composer.load, "ann/mini")
    assert found.split()[1] in ("S454", "S455")
