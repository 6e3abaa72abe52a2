from collections import Counter

import pytest

from onepath.contract.probes import Probe, ProbeSet
from onepath.tuning.errors import TuningError
from onepath.tuning.settings import Load
from onepath.tuning.workload import requests_from_probes

NAMES = ("image", "text")
ROWS = [{"image": b"i1"}, {"image": b"i2"}, {"image": b"i3"}, {"text": b"t1"}, {"image": b"i4", "text": b"t4"}, {}]
PROBES = ProbeSet(output="scores", rows=tuple(Probe(payloads=row, expected=(0.0,)) for row in ROWS))


def rows(**load):
    """Return each row of every request as its two payloads."""
    requests = requests_from_probes(PROBES, NAMES, Load(**load))
    return [tuple(pair) for each in requests for pair in zip(each["image"][:, 0], each["text"][:, 0], strict=True)]


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_every_pattern_is_asked_for_equally_often(count):
    patterns = Counter((bool(image), bool(text)) for image, text in rows(rows=count))
    assert set(patterns) == {(True, False), (False, True), (True, True)}
    assert len(set(patterns.values())) == 1


def test_every_probe_but_the_empty_one_is_sent():
    sent = {(b"i1", b""), (b"i2", b""), (b"i3", b""), (b"", b"t1"), (b"i4", b"t4")}
    assert set(rows()) == sent


def test_a_request_has_the_rows_that_were_asked_for():
    shapes = {array.shape for each in requests_from_probes(PROBES, NAMES, Load(rows=5)) for array in each.values()}
    assert shapes == {(5, 1)}


@pytest.mark.parametrize("pattern", ["image+text", "text+image"])
def test_one_pattern_alone_can_be_asked_for(pattern):
    assert set(rows(pattern=pattern)) == {(b"i4", b"t4")}


def test_a_pattern_that_no_probe_has_is_refused_with_those_that_there_are():
    with pytest.raises(TuningError, match=r"'audio'; it has: image, text, image\+text"):
        rows(pattern="audio")


def test_the_order_is_the_same_each_time_and_mixed():
    order = [bool(image) for image, _ in rows()]
    assert rows() == rows()
    assert order != [True, False, True] * 3
