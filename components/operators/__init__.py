"""Operators: functions of a graph that need no weights, one a file (lowest level)."""
