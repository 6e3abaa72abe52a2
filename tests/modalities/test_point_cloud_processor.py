"""What a point cloud becomes."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onepath.contract.errors import PayloadError
from onepath.modalities.point_sampling import grouped
from tests.modalities.media_files import processor
from tests.modalities.point_files import ORDERS, cloud, npy_file, ply_file, xyz_file


def decoded(payload, points=8, limits=None, **options):
    return processor("point_cloud", {"points": points, **options}, **(limits or {})).decode(payload)


def raw(payload, points):
    """Return the set of points that a file gives, without normalisation."""
    return {tuple(row) for row in decoded(payload, points, normalise="none").tolist()}


def unit_sphere(points):
    centred = points.astype(np.float64) - points.astype(np.float64).mean(axis=0)
    return centred / np.linalg.norm(centred, axis=1).max()


def farthest(points, count):
    """Return farthest-point sampling by its definition: every distance to every point taken, each time anew."""
    taken = [np.linalg.norm(points - points.mean(axis=0), axis=1).argmax()]
    while len(taken) < count:
        distances = np.linalg.norm(points[:, None] - points[taken], axis=2).min(axis=1)
        taken.append(distances.argmax())
    return points[taken]


def test_points_lie_in_the_unit_sphere_around_their_centroid():
    points = cloud(50) * [3, 1, 5] + [100, -7, 2]
    made = decoded(npy_file(points), 50).astype(np.float64)
    assert np.allclose(made.mean(axis=0), 0, atol=1e-6)
    assert np.linalg.norm(made, axis=1).max() == pytest.approx(1, abs=1e-6)
    assert np.allclose(np.sort(made, axis=0), np.sort(unit_sphere(points), axis=0), atol=1e-6)


def test_points_are_those_of_farthest_point_sampling():
    points = cloud(60)
    made = decoded(npy_file(points), 16)
    assert (made.dtype, made.shape) == (np.float32, (16, 3))
    assert np.allclose(made, farthest(unit_sphere(points), 16), atol=1e-6)
    assert not np.allclose(made, unit_sphere(points)[:16], atol=1e-2)


def test_sampled_points_are_farther_apart_than_any_others():
    made = decoded(npy_file(cloud(2000)), 64)
    apart = np.linalg.norm(made[:, None] - made, axis=2)[np.triu_indices(64, 1)].min()
    first = unit_sphere(cloud(2000))[:64]
    assert apart > 3 * np.linalg.norm(first[:, None] - first, axis=2)[np.triu_indices(64, 1)].min()


CORNERS = np.stack(np.meshgrid([-0.0, 1, 2], [0, 1, 2], [0, 1, 2]), axis=-1).reshape(-1, 3)


@settings(max_examples=30, deadline=None)
@given(
    st.permutations(range(30)),
    st.sampled_from([None, {"count": 3, "neighbours": 5}]),
    st.sampled_from(["none", "unit_sphere"]),
)
def test_the_order_in_the_file_changes_not_one_bit(order, groups, normalise):
    points = np.concatenate([CORNERS, [[0.0, 0, 0], [0.0, 1, 0], [0.0, 0, 2]]])  # equal distances wherever one looks
    options = {"groups": groups, "normalise": normalise}
    expected, made = (decoded(npy_file(each), 12, **options) for each in (points, points[order]))
    assert made.tobytes() == expected.tobytes()


def test_another_point_changes_the_result():
    points = cloud(30)
    points[3] *= 2
    assert not np.allclose(decoded(npy_file(points), 12), decoded(npy_file(cloud(30)), 12))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.floats(1e-3, 1e3), st.floats(-1e3, 1e3))
def test_the_unit_sphere_knows_no_unit_and_no_place(seed, scale, shift):
    points = cloud(20, seed).astype(np.float64)
    made, moved = (decoded(npy_file(each), 20) for each in (points, points * scale + shift))
    assert np.allclose(np.sort(made, axis=0), np.sort(moved, axis=0), atol=1e-5)


def test_without_normalisation_coordinates_stay_as_they_are():
    points = cloud(20) * 100
    assert raw(npy_file(points), 20) == {tuple(row) for row in points.tolist()}


def test_too_few_points_are_taken_again_from_the_first():
    made = decoded(npy_file(cloud(3)), 8)
    assert np.array_equal(made, made[[0, 1, 2, 0, 1, 2, 0, 1]])
    assert len(np.unique(made, axis=0)) == 3


def test_a_point_that_is_there_twice_is_one_point():
    points = cloud(5)
    assert np.array_equal(np.unique(decoded(npy_file(points), 5), axis=0).shape, (5, 3))
    twice = decoded(npy_file(np.concatenate([points, points])), 5, normalise="none")
    assert {tuple(row) for row in twice.tolist()} == {tuple(row) for row in points.tolist()}


@pytest.mark.parametrize("value", [0.0, 0.1, 1e-300, -7e6, 9e37])
def test_equal_points_become_zeros(value):
    assert not decoded(npy_file(np.full((9, 3), value)), 4).any()


@pytest.mark.parametrize("scale", [1e-310, 1e-200, 1e37])
def test_tiny_and_huge_clouds_fill_the_unit_sphere(scale):
    made = decoded(npy_file(cloud(20).astype(np.float64) * scale), 20)
    assert np.linalg.norm(made, axis=1).max() == pytest.approx(1, abs=1e-5)


def test_a_small_cloud_far_away_keeps_its_shape():
    points = np.round(cloud(20).astype(np.float64) * 64) / 64
    near, far = (decoded(npy_file(each), 20) for each in (points, points + 2.0**40))
    assert np.array_equal(near, far)


def test_axes_are_taken_in_the_order_and_direction_that_are_given():
    points = cloud(20)
    made = raw(npy_file(points), 20)
    turned = decoded(npy_file(points), 20, normalise="none", axes=("x", "z", "-y"))
    assert {(x, -z, y) for x, y, z in turned.tolist()} == made


def test_groups_hold_a_centre_and_its_nearest_points_less_the_centre():
    points = cloud(100)
    made = decoded(npy_file(points), 40, groups={"count": 6, "neighbours": 7})
    kept = farthest(unit_sphere(points), 40)
    assert (made.dtype, made.shape) == (np.float32, (6, 8, 3))
    for group, centre in zip(made, kept[:6], strict=True):
        nearest = kept[np.linalg.norm(kept - centre, axis=1).argsort()[:7]]
        assert np.allclose(group[0], centre, atol=1e-6)
        assert np.allclose(group[1:], nearest - centre, atol=1e-6)
        assert not group[1].any()


def test_groups_of_random_points_would_be_wider():
    made = decoded(npy_file(cloud(500)), 200, groups={"count": 10, "neighbours": 8})
    points = decoded(npy_file(cloud(500)), 200)
    spread = np.linalg.norm(made[:, 1:], axis=2).mean()
    assert spread < 0.5 * np.linalg.norm(points[:, None] - points, axis=2).mean()


def test_of_equally_near_points_the_first_in_order_comes_first():
    cross = np.array([[0, 0, 0], [1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 9], [0, 0, -9]])
    made = decoded(npy_file(cross), 7, normalise="none", groups={"count": 7, "neighbours": 3})
    (middle,) = [group for group in made if not group[0].any()]
    assert len(np.unique(middle[1:], axis=0)) == 3
    assert np.linalg.norm(middle[1:], axis=1).tolist() == [0, 1, 1]


def test_of_equally_near_points_at_the_border_of_a_group_the_first_are_taken():
    turns = np.random.default_rng(0).permutation(1000)
    sides = np.stack([turns % 2, turns // 2 % 2, turns // 4 % 2], axis=1) * 2.0 - 1
    points = np.concatenate([[[0.0, 0, 0]], sides * 3, sides * 2])  # a thousand at one distance, behind farther ones
    made = grouped(points, 1, 500)[0]
    assert np.array_equal(made[1:], points[[0, *range(1001, 1500)]])
    assert not np.array_equal(made[1:], points[[0, *range(1002, 1501)]])


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", ">f4", "i1", "u1", "<i2", ">i4", "i8", "u8"])
def test_every_type_of_number_is_read(dtype):
    points = np.array([[1, 2, 3], [40, 50, 60], [7, 0, 9]])
    assert raw(npy_file(points.astype(dtype)), 3) == {tuple(row) for row in points.tolist()}


@pytest.mark.parametrize("version", [1, 2, 3])
def test_every_version_of_npy_is_read(version):
    made = npy_file(cloud(4))
    header = made[10 : 10 + int.from_bytes(made[8:10], "little")]
    width = "<H" if version == 1 else "<I"
    payload = made[:6] + bytes([version, 0]) + struct.pack(width, len(header)) + header + made[10 + len(header) :]
    assert raw(payload, 4) == raw(made, 4)


def test_an_array_in_fortran_order_holds_the_same_points():
    assert raw(npy_file(np.asfortranarray(cloud(9))), 9) == raw(npy_file(cloud(9)), 9)


def test_columns_after_the_third_are_not_read():
    wide = np.concatenate([cloud(9), np.full((9, 4), np.nan, dtype=np.float32)], axis=1)
    assert raw(npy_file(wide), 9) == raw(npy_file(cloud(9)), 9)


@pytest.mark.parametrize("faces_first", [False, True])
@pytest.mark.parametrize("lists", [False, True])
@pytest.mark.parametrize("names", ["xyz", "zanyx"])
@pytest.mark.parametrize("form", ORDERS)
def test_a_ply_file_gives_its_points(form, names, lists, faces_first):
    points = cloud(9)
    payload = ply_file(points, form, names=names, lists=lists, faces_first=faces_first)
    assert raw(payload, 9) == {tuple(row) for row in points.tolist()}


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("form", ORDERS)
def test_a_ply_file_may_end_its_lines_in_any_way(form, end):
    header, _, body = ply_file(cloud(9), form).partition(b"end_header\n")
    payload = (header + b"end_header\n").replace(b"\n", end) + (body.replace(b"\n", end) if form == "ascii" else body)
    assert raw(payload, 9) == raw(ply_file(cloud(9)), 9)


@pytest.mark.parametrize("comment", ["scanned in Ängelholm, Åre and Ørsta", "see end_header", "a\x0bb\x1cc"])
def test_a_comment_of_a_ply_file_may_say_anything(comment):
    payload = ply_file(cloud(9)).replace(b"made for a test", comment.encode())
    assert raw(payload, 9) == raw(ply_file(cloud(9)), 9)


def test_lists_are_walked_through_as_long_as_that_is_quick():
    payload = ply_file(cloud(9), "binary_little_endian", lists=True, faces_first=True)  # 2 faces, 9 points of 4 numbers
    assert len(raw(payload, 9)) == 9
    assert decoded(payload, limits={"max_points": 9}).shape == (8, 3)
    many = payload.replace(b"property list uchar short ring\n", b"property list uchar uchar ring\n" * 20)
    with pytest.raises(PayloadError) as caught:
        decoded(many, limits={"max_points": 9})
    assert caught.value.code == "out_of_range"


@pytest.mark.parametrize("form", ORDERS)
def test_a_ply_file_cut_anywhere_is_refused_or_has_lost_no_point(form):
    payload = ply_file(cloud(9), form)
    whole, refused = raw(payload, 9), 0
    lengths = [*range(1, len(payload), 5), len(payload) - 1]
    for length in lengths:
        try:
            assert raw(payload[:length], 9) == whole
        except PayloadError:
            refused += 1
    assert refused > 0.9 * len(lengths)


@pytest.mark.parametrize(
    "text",
    [
        b"1 2 3\n4 5 6\n",
        b"1,2,3\r\n4,5,6",
        b"1;2;3\n4;5;6\n",
        b"  1\t2  3 255 255\n\n4 5 6 0 0\n",
        b"# a comment\n1 2 3 # another\n4 5 6\n",
        b"2\n1 2 3\n4 5 6\n",
        b"\xef\xbb\xbf1 2 3\n4 5 6\n",
        b"+1.0 2e0 .3e1\n4. 5 6\n",
    ],
)
def test_text_gives_its_points(text):
    assert raw(text, 2) == {(1, 2, 3), (4, 5, 6)}


def test_a_very_long_line_is_refused_before_its_numbers_are_read():
    with pytest.raises(PayloadError, match=r"4,096 characters"):
        decoded(b"1 2 3\n" + b"1 " * 40_000)
    assert raw(b"1 2 3\n4 5 6" + b" " * 5000 + b"\n", 2) == {(1, 2, 3), (4, 5, 6)}


def test_text_holds_every_bit_of_a_point():
    assert raw(xyz_file(cloud(9)), 9) == {tuple(row) for row in cloud(9).tolist()}


@pytest.mark.parametrize("payload", [npy_file(cloud(20)), ply_file(cloud(20)), xyz_file(cloud(20))])
def test_as_many_points_as_the_limit_are_accepted(payload):
    assert decoded(payload, limits={"max_points": 20, "min_points": 20}).shape == (8, 3)
    with pytest.raises(PayloadError) as caught:
        decoded(payload, limits={"max_points": 19})
    assert caught.value.code == "too_many_points"


def test_nothing_is_warned_of_a_signalling_nan(recwarn):
    points = cloud(9)
    points.view(np.uint32)[3, 1] = 0x7FA00000
    with pytest.raises(PayloadError) as caught:
        decoded(npy_file(points))
    assert caught.value.code == "not_finite"
    assert not recwarn
