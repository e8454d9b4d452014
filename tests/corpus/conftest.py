from pathlib import Path

import pytest

TASKS = Path(__file__).parent / "tasks"


@pytest.fixture
def tasks(monkeypatch):
    """Let this process and its workers import the fake task."""
    monkeypatch.syspath_prepend(str(TASKS))
    monkeypatch.setenv("PYTHONPATH", str(TASKS))
    import corpus_task

    return corpus_task
