"""Hold one run against another, value by value in graph order, strictly enough to be believed."""
