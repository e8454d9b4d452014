"""The ONNX Runtime backend: blocks as a graph, decoders, exported files (above models)."""
