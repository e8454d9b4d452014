"""What authors got wrong in these bundles: the place and the text of each error."""

from pathlib import Path

import pytest

import composer
from tests.first_bundles.conftest import HERE

TABLE = HERE / "mistakes.txt"


def cases():
    """Read the table: a bundle and a title, what is replaced, what replaces it, and the words."""
    for block in TABLE.read_text().split("=== ")[1:]:
        title, old, new, *messages = block.splitlines()
        old, new = (line[2:].replace("\\n", "\n") for line in (old, new))
        yield pytest.param(title.partition(":")[0], old, new, "\n".join(messages), id=title)


@pytest.mark.parametrize(("name", "old", "new", "messages"), list(cases()))
def test_a_mistake(name, old, new, messages, models, tmp_path, monkeypatch):
    text = (HERE / f"{name}.yaml").read_text()
    assert old in text
    monkeypatch.chdir(tmp_path)
    Path("bundle.yaml").write_text(text.replace(old, new, 1))
    report = composer.check("bundle.yaml", sources={"repo": models[0]})
    assert "\n".join(map(str, report.problems)) == messages
