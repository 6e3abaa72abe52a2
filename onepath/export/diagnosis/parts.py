"""What a module inside an exported graph is called for the person who wrote it."""

from __future__ import annotations

import re

_ENCODER = re.compile(r"(?:body\.)?(?:dispatch\.(\w+)(?:\.encoder)?|model\.encoders\.(\w+))\.?(.*)")

WHOLE = "the model for ONNX"
"""What is said of a graph where no module is known."""


def part_in_words(module: str, kind: str = "", use: str = " for ONNX") -> str:
    """Return the name of a module of a presence graph, with its modality where it is a part of an encoder.

    Args:
        module: its dotted name in the graph, or in the form that is exported; empty where unknown.
        kind: its class.
        use: what the model is wanted for.

    >>> part_in_words("body.dispatch.audio.encoder.1.norm", "torch.nn.LayerNorm")
    'the encoder of audio for ONNX, encoders.audio.1.norm (torch.nn.LayerNorm)'
    >>> part_in_words("dispatch.audio", use="")
    'the encoder of audio, encoders.audio'
    >>> part_in_words("model.head"), part_in_words("")
    ('the model for ONNX, its model.head', 'the model for ONNX')
    """
    suffix = f" ({kind})" if kind else ""
    encoder = _ENCODER.fullmatch(module)
    if encoder is not None:
        modality = encoder[1] or encoder[2]
        inner = f".{encoder[3]}" if encoder[3] else ""
        return f"the encoder of {modality}{use}, encoders.{modality}{inner}{suffix}"
    inner = module.removeprefix("body").removeprefix(".")
    return f"the model{use}, its {inner}{suffix}" if inner else f"the model{use}"
