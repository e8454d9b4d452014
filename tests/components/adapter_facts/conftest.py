"""One small decoder for the tests that read it."""

import pytest

from tests.components.adapter_files import (
    write_model,
)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    home = tmp_path_factory.mktemp("facts")
    write_model(home / "lm")
    write_model(home / "lm4", bits=4)
    return home
