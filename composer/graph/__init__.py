"""A checked bundle as values: nodes, lengths, graphs, files (above sources, filled by checker)."""
