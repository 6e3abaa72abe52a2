"""Merge multimodal models, collapse them to one path of weights, prove it, and serve them with any modality missing."""

__version__ = "0.2.0"
