"""From a manifest to typed graphs: what the components know, and whether the wires fit."""

from composer.checker.check import check, check_again, check_variant

__all__ = ["check", "check_again", "check_variant"]
