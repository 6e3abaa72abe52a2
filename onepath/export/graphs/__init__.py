"""ONNX from torch: row dispatch inside the graph, the exporter, and graphs on disk."""
