"""Encoded bytes to arrays: one processor per modality, and the decoding of whole batches that every caller shares."""

from onepath.modalities.processing import (
    processor_from_entry,
    processor_from_settings,
    settings_in_full,
    tensor_from_settings,
)
from onepath.modalities.rows import DecodedRows, decode_rows

__all__ = [
    "DecodedRows",
    "decode_rows",
    "processor_from_entry",
    "processor_from_settings",
    "settings_in_full",
    "tensor_from_settings",
]
