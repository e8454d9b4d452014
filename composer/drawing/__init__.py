"""Draw a checked bundle: a tree for the terminal, Mermaid, and SVG."""

from composer.drawing.mermaid import mermaid
from composer.drawing.svg import svg
from composer.drawing.tree import tree

__all__ = ["mermaid", "svg", "tree"]
