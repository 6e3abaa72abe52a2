"""Point clouds that are not what they should be, with the code of their refusal."""

from __future__ import annotations

import numpy as np

from tests.modalities.media_files import image_file, noise, sound_file, tone
from tests.modalities.point_files import cloud, npy_file, npy_header, ply_file, xyz_file

SETTINGS = {"points": 8}
LIMITS = {"max_bytes": 100_000, "max_points": 100, "min_points": 2}
GOOD = npy_file(cloud(20))

_PLY = b"ply\nformat ascii 1.0\n"
_XYZ = b"property float x\nproperty float y\nproperty float z\n"
_BINARY = b"ply\nformat binary_little_endian 1.0\n"


def _ply(elements: bytes, body: bytes = b"", head: bytes = _PLY) -> bytes:
    return head + elements + b"end_header\n" + body


def _with(value: float, dtype: str = "f8") -> np.ndarray:
    points = cloud(20).astype(dtype)
    points[7, 1] = value
    return points


CASES = {
    "no_bytes": ("empty", b""),
    "text": ("unsupported_format", b"seven"),
    "json": ("unsupported_format", b"[[1, 2, 3]]"),
    "png": ("unsupported_format", image_file(noise(9, 9))),
    "wav": ("unsupported_format", sound_file(tone(440, rate_hz=8000))),
    "pickle": ("unsupported_format", b"\x80\x04\x95\x10\0\0\0\0\0\0\0"),
    "pcd": ("unsupported_format", b"# .PCD v0.7\nVERSION 0.7\n"),
    "obj": ("unsupported_format", b"v 1 2 3\nv 4 5 6\n"),
    "off": ("unsupported_format", b"OFF\n3 1 0\n0 0 0\n"),
    "stl": ("unsupported_format", b"solid cube\n"),
    "las": ("unsupported_format", b"LASF" + bytes(300)),
    "white_space": ("unsupported_format", b" \n\t"),
    "too_many_bytes": ("too_large", b"1 2 3\n" * 20_000),
    "npy_magic_alone": ("corrupt", b"\x93NUMPY"),
    "npy_of_an_unknown_version": ("corrupt", b"\x93NUMPY\x09\0" + npy_file(cloud(2))[8:]),
    "npy_without_a_header": ("truncated", b"\x93NUMPY\1\0\x76\0"),
    "npy_of_an_endless_header": ("corrupt", b"\x93NUMPY\2\0\xff\xff\xff\x7f" + bytes(100)),
    "npy_random": ("corrupt", b"\x93NUMPY\1\0\x76\0" + noise(500).tobytes()),
    "npy_of_code": ("corrupt", npy_header("(__import__('os').getpid(), 3)")),
    "npy_cut": ("truncated", npy_file(cloud(20))[:-1]),
    "npy_cut_in_its_header": ("truncated", npy_file(cloud(20))[:50]),
    "npy_with_more_behind": ("corrupt", npy_file(cloud(20)) + b"\0"),
    "npy_of_objects": ("wrong_type", npy_file(np.array([[object()] * 3], dtype=object))),
    "npy_of_complex_numbers": ("wrong_type", npy_file(np.ones((4, 3), dtype=complex))),
    "npy_of_booleans": ("wrong_type", npy_file(np.ones((4, 3), dtype=bool))),
    "npy_of_strings": ("wrong_type", npy_file(np.array([["a", "b", "c"]]))),
    "npy_of_fields": ("wrong_type", npy_file(np.zeros(4, dtype=[("x", "f4"), ("y", "f4"), ("z", "f4")]))),
    "npy_of_long_doubles": ("wrong_type", npy_header("(4, 3)", "'<f16'", data=bytes(192))),
    "npy_of_one_dimension": ("wrong_shape", npy_file(np.zeros(12))),
    "npy_of_three_dimensions": ("wrong_shape", npy_file(np.zeros((2, 4, 3)))),
    "npy_of_no_dimension": ("wrong_shape", npy_file(np.array(1.0))),
    "npy_of_two_columns": ("wrong_shape", npy_file(np.zeros((9, 2)))),
    "npy_of_no_points": ("too_few_points", npy_file(np.zeros((0, 3)))),
    "npy_of_one_point": ("too_few_points", npy_file(np.zeros((1, 3)))),
    "npy_over_max_points": ("too_many_points", npy_file(cloud(101))),
    "npy_bomb": ("too_many_points", npy_header("(4000000000, 3)")),
    "npy_of_a_number_beyond_64_bits": ("too_many_points", npy_header("(" + "9" * 90 + ", 3)")),
    "npy_of_endless_columns": ("truncated", npy_header("(2, " + "9" * 90 + ")")),
    "nan": ("not_finite", npy_file(_with(np.nan))),
    "infinity": ("not_finite", npy_file(_with(np.inf))),
    "minus_infinity_of_16_bits": ("not_finite", npy_file(_with(-np.inf, "f2"))),
    "beyond_float32": ("out_of_range", npy_file(_with(-1e39))),
    "largest_float64": ("out_of_range", npy_file(_with(np.finfo("f8").max))),
    "ply_magic_alone": ("truncated", b"ply\n"),
    "ply_without_an_end_of_its_header": ("truncated", _PLY + b"element vertex 2\n" + _XYZ),
    "ply_of_nothing_but_its_header": ("truncated", _ply(b"element vertex 2\n" + _XYZ)),
    "ply_of_no_format": ("corrupt", b"ply\nelement vertex 0\nend_header\n"),
    "ply_of_an_unknown_format": ("corrupt", b"ply\nformat binary_mixed_endian 1.0\nend_header\n"),
    "ply_of_an_unknown_type": ("corrupt", _ply(b"element vertex 2\nproperty float128 x\n")),
    "ply_of_a_property_of_nothing": ("corrupt", _ply(b"property float x\n")),
    "ply_of_a_negative_number": ("corrupt", _ply(b"element vertex -2\n" + _XYZ)),
    "ply_of_an_endless_number": ("corrupt", _ply(b"element vertex " + b"9" * 5000 + b"\n" + _XYZ)),
    "ply_of_a_list_of_fractional_length": ("corrupt", _ply(b"element vertex 2\nproperty list float int x\n")),
    "ply_of_endless_properties": ("corrupt", _ply(b"element vertex 2\n" + b"property float x\n" * 65)),
    "ply_random": ("truncated", b"ply\n" + noise(500).tobytes()),
    "ply_without_points": ("wrong_columns", _ply(b"element face 0\nproperty list uchar int indices\n")),
    "ply_without_z": ("wrong_columns", _ply(b"element vertex 0\nproperty float x\nproperty float y\n")),
    "ply_of_two_x": ("wrong_columns", _ply(b"element vertex 0\n" + _XYZ + b"property float x\n")),
    "ply_whose_x_is_a_list": (
        "wrong_columns",
        _ply(b"element vertex 0\n" + _XYZ.replace(b"float x", b"list int int x")),
    ),
    "ply_of_no_points": ("too_few_points", _ply(b"element vertex 0\n" + _XYZ)),
    "ply_over_max_points": ("too_many_points", ply_file(cloud(101))),
    "ply_bomb": ("too_many_points", _ply(b"element vertex 999999999999\n" + _XYZ, head=_BINARY)),
    "ply_of_endless_faces": (
        "out_of_range",
        _ply(b"element face 99999999\nproperty list char int i\nelement vertex 2\n" + _XYZ, bytes(90_000), _BINARY),
    ),
    "ply_of_endless_elements_before_the_points": (
        "out_of_range",
        _ply(b"element a 100\nproperty list char int i\n" * 300 + b"element vertex 2\n" + _XYZ, bytes(40_000), _BINARY),
    ),
    "ply_of_points_with_endless_lists": (
        "out_of_range",
        _ply(b"element vertex 100\n" + _XYZ + b"property list char int i\n" * 60, bytes(60_000), _BINARY),
    ),
    "ply_of_faces_that_are_not_there": (
        "truncated",
        _ply(b"element vertex 2\n" + _XYZ + b"element face 99999999\nproperty list char int i\n", bytes(24), _BINARY),
    ),
    "ply_of_a_negative_list": (
        "corrupt",
        _ply(b"element vertex 2\n" + _XYZ + b"property list char int i\n", b"\xff" * 100, _BINARY),
    ),
    "ply_of_an_endless_list": (
        "truncated",
        _ply(b"element vertex 2\n" + _XYZ + b"property list uint double i\n", b"\xff" * 100, _BINARY),
    ),
    "ply_cut": ("truncated", ply_file(cloud(20))[:-60]),
    "binary_ply_cut": ("truncated", ply_file(cloud(20), "binary_big_endian")[:-60]),
    "ply_of_words": ("corrupt", _ply(b"element vertex 2\n" + _XYZ, b"1 2 3\n4 five 6\n")),
    "ply_of_too_few_numbers": ("corrupt", _ply(b"element vertex 2\n" + _XYZ, b"1 2\n4 5\n")),
    "ply_of_too_few_words": ("corrupt", _ply(b"element vertex 2\n" + _XYZ + b"property list int int i\n", b"1\n4\n")),
    "ply_of_lines_of_different_lengths": ("corrupt", _ply(b"element vertex 2\n" + _XYZ, b"1 2 3\n4 5 6 7\n")),
    "ply_of_nan": ("not_finite", _ply(b"element vertex 2\n" + _XYZ, b"1 2 3\n4 nan 6\n")),
    "xyz_of_one_column": ("wrong_shape", b"1.5\n2.5\n"),
    "xyz_of_two_columns": ("wrong_shape", b"1,2\n3,4\n"),
    "xyz_of_lines_of_different_lengths": ("corrupt", b"1 2 3\n4 5 6 7\n"),
    "xyz_of_very_many_columns": ("corrupt", b"1 " * 1000 + b"\n"),
    "xyz_of_a_very_long_line": ("corrupt", b"1 2 3\n" + b"1 " * 40_000 + b"\n"),
    "ply_of_very_many_columns": ("corrupt", _ply(b"element vertex 2\n" + _XYZ, (b"1 " * 20_000 + b"\n") * 2)),
    "xyz_of_words": ("corrupt", b"1 2 three\n"),
    "xyz_of_a_molecule": ("corrupt", b"3\nwater\nO 0 0 0\nH 0 0 1\n"),
    "xyz_of_comments_alone": ("too_few_points", b"# nothing\n"),
    "xyz_of_one_point": ("too_few_points", b"1 2 3\n"),
    "xyz_with_a_nul": ("corrupt", b"1 2 3\n4 5 \x006\n"),
    "xyz_of_latin_1": ("not_utf8", b"# \xe9\n1 2 3\n"),
    "xyz_random": ("not_utf8", b"1" + noise(500).tobytes()),
    "xyz_of_nan": ("not_finite", b"1 2 3\n4 nan 6\n"),
    "xyz_beyond_float64": ("not_finite", b"1 2 3\n4 1e400 6\n"),
    "xyz_beyond_float32": ("out_of_range", b"1 2 3\n4 1e40 6\n"),
    "xyz_of_fewer_points_than_it_says": ("truncated", b"3\n1 2 3\n4 5 6\n"),
    "xyz_of_more_points_than_it_says": ("corrupt", b"2\n1 2 3\n4 5 6\n7 8 9\n"),
    "xyz_that_says_too_many_points": ("too_many_points", b"4000000000\n1 2 3\n"),
    "xyz_over_max_points": ("too_many_points", xyz_file(cloud(101))),
}
