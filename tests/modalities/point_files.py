"""Point clouds for the tests, byte by byte."""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np

ORDERS = {"ascii": "", "binary_little_endian": "<", "binary_big_endian": ">"}


def npy_file(array: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, np.asarray(array), allow_pickle=True)
    return file.getvalue()


def npy_header(shape: str, descr: str = "'<f4'", order: str = "False", data: bytes = b"") -> bytes:
    header = f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}".encode()
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(header) + 1) + header + b"\n" + data


def xyz_file(points: Any, separator: str = " ") -> bytes:
    return "".join(separator.join(repr(float(value)) for value in row) + "\n" for row in points).encode()


def ply_file(
    points: Any, form: str = "ascii", *, names: str = "xyz", lists: bool = False, faces_first: bool = False
) -> bytes:
    """Return a PLY file of points, with two triangles before or after them.

    Args:
        points: `(points, 3)`.
        form: one of `ORDERS`.
        names: the properties in order; what is not x, y or z is 7.
        lists: whether each point ends with a list of two integers.
        faces_first: whether the triangles come before the points.
    """
    faces = "element face 2\nproperty list uchar int vertex_indices\n"
    vertex = f"element vertex {len(points)}\n" + "".join(f"property float {name}\n" for name in names)
    vertex += "property list uchar short ring\n" if lists else ""
    elements = faces + vertex if faces_first else vertex + faces
    head = f"ply\nformat {form} 1.0\ncomment made for a test\n{elements}end_header\n"
    rows = [[row["xyz".index(name)] if name in "xyz" else 7.0 for name in names] for row in points]
    if order := ORDERS[form]:
        ring = struct.pack(order + "Bhh", 2, 5, 6) if lists else b""
        body = b"".join(struct.pack(f"{order}{len(names)}f", *row) + ring for row in rows)
        triangles = struct.pack(order + "Biii", 3, 0, 1, 2) * 2
    else:
        ring = b" 2 5 6" if lists else b""
        body = b"".join(" ".join(repr(float(value)) for value in row).encode() + ring + b"\n" for row in rows)
        triangles = b"3 0 1 2\n" * 2
    return head.encode() + (triangles + body if faces_first else body + triangles)


def cloud(points: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(points, 3)).astype(np.float32)
