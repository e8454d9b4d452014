"""Draw a checked bundle: a tree for the terminal, Mermaid, and SVG."""

from composer.draw.mermaid import mermaid
from composer.draw.svg import svg
from composer.draw.tree import tree

__all__ = ["mermaid", "svg", "tree"]
