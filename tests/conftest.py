from tests.fakes import fakes

__all__ = ["fakes"]
