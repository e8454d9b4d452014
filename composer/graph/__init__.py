"""A checked bundle as values: nodes, dims, graphs and the files they read."""
