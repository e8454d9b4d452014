"""Whose package provides a kind or an operator: what a manifest names, and what is installed."""

import pytest

import composer
from tests.acme import acme
from tests.fakes import write

__all__ = ["acme"]
BUNDLE = """\
composer: 1
name: others
PACKAGES
components: {twice: {use: acme.double}}
inputs: {x: {type: tensor, port: f32 N}}
graph:
  turned: {run: turn, with: {x: $x, by: 1}}
  out: {run: twice, with: {x: $turned}}
outputs: {out: $out}
"""


def problems(folder, packages, *changes):
    path = write(folder, BUNDLE, ("PACKAGES", packages), *changes)
    return [str(p).split("bundle.yaml:")[1] for p in composer.check(path).problems]


def test_a_kind_that_is_missing_says_what_to_install(tmp_path):
    kind, operator = problems(
        tmp_path, 'packages: {acme.double: "acme-local>=1.2", turn: acme-local}'
    )
    assert kind == (
        "4:27: W212 there is no component kind 'acme.double'\n"
        "    hint: the bundle says where it comes from: pip install 'acme-local>=1.2'; "
        "a package is code, so look at it first"
    )
    assert operator == (
        "7:17: W202 'turn' is neither an operator nor a component\n"
        "    hint: the bundle says where it comes from: pip install 'acme-local'; "
        "a package is code, so look at it first"
    )


@pytest.mark.parametrize(
    "text", ["acme-local", "acme_local >=1", "Acme.Local==1", "acme-local>=0.5,<2"]
)
def test_the_installed_version_satisfies(acme, tmp_path, text):
    assert problems(tmp_path, f'packages: {{acme.double: "{text}", turn: "{text}"}}') == []


@pytest.mark.parametrize(
    "text", ["acme-local>=1.2", "acme-local<1", "acme-locals", "acme-local!=1"]
)
def test_the_installed_version_does_not_satisfy(acme, tmp_path, text):
    assert problems(tmp_path, f'packages: {{acme.double: "{text}"}}') == [
        f"3:25: W232 acme.double comes from acme-local 1 here, and the bundle needs '{text}'\n"
        f"    hint: pip install '{text}'"
    ]


def test_a_package_that_nothing_uses(acme, tmp_path):
    assert problems(tmp_path, "packages: {acme.treble: acme-local}") == [
        "3:12: L306 warning: no component is a 'acme.treble', and no node runs one\n"
        "    hint: remove its package"
    ]


@pytest.mark.parametrize(
    "text",
    [
        "acme @ https://x.org/a.whl", "git+https://x.org/a", "acme; rm -rf ~", "acme' && rm x '",
        "-r x.txt", "acme[all]", "acme>=1; python_version>'3'", "./acme", "acme>=", "acme 1.2", "",
        "--index-url=https://x.org acme",
    ],
)  # fmt: skip
def test_what_is_no_package(tmp_path, text):
    (found,) = problems(tmp_path, f'packages: {{acme.double: "{text}"}}')
    assert found.startswith("3:25: M12")
    assert "in packages.acme.double is not a package" in found or "is empty" in found


@pytest.mark.parametrize("text", ["acme-local>=1.*", "acme-local>=new", "acme-local~=1"])
def test_versions_that_are_none(tmp_path, text):
    found = problems(tmp_path, f'packages: {{acme.double: "{text}"}}')
    assert found[0].startswith(f"3:25: W232 '{text}' is not a package with versions: ")


def test_names_of_kinds(tmp_path):
    (found,) = problems(tmp_path, "packages: {Acme: acme}")
    assert "M125 'Acme' in packages is not a kind of component" in found
