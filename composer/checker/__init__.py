"""Make the typed graphs of a manifest: describe its components, and check its wires."""

from composer.checker.check import check, check_variant, recheck

__all__ = ["check", "check_variant", "recheck"]
