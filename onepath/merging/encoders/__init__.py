"""Encoders that Lego blocks are built around: a self-normalising network for tables, attention-MIL for bags."""

from onepath.merging.encoders.attention_mil import AttentionMIL, padded_bags
from onepath.merging.encoders.self_normalizing import SelfNormalizingNetwork

__all__ = ["AttentionMIL", "SelfNormalizingNetwork", "padded_bags"]
