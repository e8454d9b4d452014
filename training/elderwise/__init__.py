"""The miniature of Elderwise's shape."""
