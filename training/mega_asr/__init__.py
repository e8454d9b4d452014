"""The miniature of Mega-ASR's shape."""
