"""Components on ONNX Runtime, imported when they are loaded, never before."""
