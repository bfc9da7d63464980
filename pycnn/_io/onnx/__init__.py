"""ONNX files, written and read: what other programs compute networks from."""
