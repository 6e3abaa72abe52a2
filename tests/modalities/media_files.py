"""Encoded files for the tests, made by Pillow and soundfile, or byte by byte where no encoder would write them."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from PIL import Image

from onepath.contract.modality import Processor
from onepath.modalities import processor_from_settings


def processor(kind: str, settings: dict[str, Any], assets: Path = Path(), **limits: Any) -> Processor:
    return processor_from_settings(kind, kind, settings, limits, assets)


def image_file(pixels: Any, image_format: str = "PNG", **options: Any) -> bytes:
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(np.asarray(pixels, dtype=np.uint8))
    file = io.BytesIO()
    image.save(file, image_format, **options)
    return file.getvalue()


def png_file(width: int, height: int, rows: bytes, *, depth: int = 8, colour: int = 0, chunks: bytes = b"") -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    data = png_chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + chunks + data + png_chunk(b"IEND", b"")


def png_chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def sound_file(samples: Any, rate_hz: int = 8000, sound_format: str = "WAV", **options: Any) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, np.asarray(samples), rate_hz, format=sound_format, **options)
    return file.getvalue()


def wav_file(
    data: bytes, *, rate_hz: int = 8000, channels: int = 1, bits: int = 16, tag: int = 1, declared: int | None = None
) -> bytes:
    size = len(data) if declared is None else declared
    frame = channels * bits // 8
    fmt = struct.pack("<HHIIHH", tag, channels, rate_hz, rate_hz * frame & 0xFFFFFFFF, frame, bits)
    head = b"WAVEfmt " + struct.pack("<I", 16) + fmt + b"data" + struct.pack("<I", size)
    return b"RIFF" + struct.pack("<I", (len(head) + size) & 0xFFFFFFFF) + head + data


def tone(frequency_hz: float, *, rate_hz: int, seconds: float = 1.0, amplitude: float = 0.5) -> np.ndarray:
    return amplitude * np.sin(2 * np.pi * frequency_hz * np.arange(round(rate_hz * seconds)) / rate_hz)


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
