"""Merging: functions and modules that make one multimodal model of several single-modality ones (torch)."""
