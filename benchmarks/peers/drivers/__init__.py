"""One module per peer, run by the peer's own Python: `python -m benchmarks.peers.drivers.X`.

A driver has a function `load(folder, ...)` that returns a function of one input and a number of
tokens, which returns ids.
"""
