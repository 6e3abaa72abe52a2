"""What a pipeline is told whose probes are missing or answered wrongly."""

import numpy as np
import pytest

from onepath.contract.errors import ServerUnavailableError
from onepath.server import check_probes, probes


def checked(server, bundle, probe_set):
    return check_probes(server.grpc_address, "tiny", probe_set, bundle.manifest)


def test_the_bundles_probes_are_answered(server, bundle):
    assert checked(server, bundle, bundle.probes).rows == len(bundle.probes.rows)


def test_no_probe_at_all_shows_nothing_and_is_refused(server, bundle):
    with pytest.raises(ServerUnavailableError, match="holds no row"):
        checked(server, bundle, bundle.probes.model_copy(update={"rows": ()}))


def test_of_two_equal_probes_the_one_that_was_answered_wrongly_is_named(bundle):
    first = bundle.probes.rows[0]
    right, wrong = first.expected, [value + 1 for value in first.expected]
    answer = {
        "scores": np.array([right, wrong]),
        "presence": np.array([[1, 0], [1, 0]], dtype=np.uint8),
        "row_status": np.zeros((2, 1), dtype=np.uint8),
    }
    twice = bundle.probes.model_copy(update={"rows": (first, first)})
    with pytest.raises(ServerUnavailableError, match=r"probe 1 \(image\) is off by 1"):
        probes._checked(lambda _: answer, list(enumerate(twice.rows)), "tiny", probes=twice, manifest=bundle.manifest)


def test_a_probe_that_is_twice_there_is_answered_twice(server, bundle):
    rows = bundle.probes.rows
    assert checked(server, bundle, bundle.probes.model_copy(update={"rows": rows * 3})).rows == 3 * len(rows)
