"""Merge multimodal models, collapse them to one path of weights, prove it, and serve them with the modalities a row has."""

__version__ = "0.1.0"
