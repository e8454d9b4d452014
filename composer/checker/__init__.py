"""Check a manifest against its files' headers and make its graphs; no weights (above graph)."""

from composer.checker.check import check, check_variant, recheck

__all__ = ["check", "check_variant", "recheck"]
