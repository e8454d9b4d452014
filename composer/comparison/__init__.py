"""Compare one run with another, value by value in graph order (above runtime)."""
