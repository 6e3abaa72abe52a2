"""Preprocessing of one modality: the code is onepath's, the modality is described in modality.json."""

from onepath.server.models.preprocess import TritonPythonModel

__all__ = ["TritonPythonModel"]
