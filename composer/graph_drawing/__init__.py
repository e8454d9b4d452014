"""Draw a checked bundle: a tree for the terminal, Mermaid and SVG (above graph)."""
