import re
import struct
import sys

import pytest

from onepath.contract.errors import MissingExtraError
from onepath.tuning.errors import TuningError
from onepath.tuning.picture import draw
from onepath.tuning.report import TuningReport, check_choice, report_from_entries
from onepath.tuning.run import time_is_up, tune
from onepath.tuning.settings import Goal, TuneSettings
from tests.server.bundles import write_bundle
from tests.tuning.measured import CONTEXT, DEFAULT, INT8, entries, entry

WAITING = DEFAULT.changed(max_queue_delay_us=500)
SPINNING = DEFAULT.changed(graph_instances=1, intra_op_threads=2, allow_spinning=True)
MEASURED = [(DEFAULT, 100, 20), (INT8, 150, 25), (WAITING, 90, 22), (SPINNING, 80, 15), (DEFAULT.changed(rows=4),)]


def report(*measured, **goal):
    return report_from_entries("tiny", CONTEXT, entries(*measured), default=DEFAULT, goal=Goal(**goal), finished=True)


FULL = report(*MEASURED[:4], (INT8.model_copy(update={"rows": 8}), 700, 90), (WAITING.changed(precision="bf16"),))


def test_the_front_leaves_out_what_is_dominated_and_other_numbers_of_rows():
    assert [each.name for each in FULL.measured if each.is_on_front] == ["fp32 2×1", "int8 2×1", "fp32 1×2 spinning"]


def test_it_holds_what_was_chosen_and_the_default():
    assert (FULL.chosen.candidate, FULL.default.candidate) == (INT8, DEFAULT)
    assert [(each.precision, each.result) for each in FULL.verdicts] == [("int8", "wins")]


def test_it_keeps_the_reason_of_what_failed():
    assert [(each.name, each.failure) for each in FULL.measured if each.failure] == [
        ("bf16 2×1, wait 500 µs", "it did not start")
    ]


def test_it_is_read_from_its_json_as_it_was():
    assert TuningReport.model_validate_json(FULL.model_dump_json()) == FULL


def test_the_deployment_settings_are_those_that_were_chosen_and_leave_engines_to_a_gpu():
    assert FULL.deployment == INT8.settings.model_dump(mode="json", exclude={"engine"})


def test_where_nothing_keeps_the_bound_the_fastest_is_named():
    missed = report((DEFAULT, 100, 70), (INT8, 50, 60), latency_ms=50)
    assert missed.deployment == {}
    with pytest.raises(TuningError, match=r"p95 latency of 50 ms; the fastest, int8 2×1, have 60\.0 ms at 50 rows"):
        check_choice(missed)


def test_where_nothing_runs_the_reason_is_named():
    with pytest.raises(TuningError, match="it did not start"):
        check_choice(report((DEFAULT,), (INT8,)))


@pytest.mark.parametrize(
    "shown",
    [FULL, report((DEFAULT, 100)), report((DEFAULT,)), report((DEFAULT, 100, 70), (INT8, 100, 70))],
    ids=["all", "one", "none", "over the bound"],
)
def test_the_picture_is_a_png_whatever_was_measured(shown, tmp_path):
    draw(tmp_path / "tuning.png", shown)
    data = (tmp_path / "tuning.png").read_bytes()
    width, height = struct.unpack(">II", data[16:24])
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    assert (width, height) in {(1200, 720), (1620, 720)}


def test_without_matplotlib_nothing_is_measured(tmp_path, monkeypatch):
    bundle = write_bundle(tmp_path / "tiny")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtraError, match=re.escape('pip install "onepath[tune]"')):
        tune(bundle, TuneSettings(), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("walls", "left_s", "is_up"),
    [
        ([], 0.0, False),
        ([(DEFAULT, 9.0)], 0.0, False),
        ([(DEFAULT, 9.0), (INT8, 6.0)], 10.0, False),
        ([(DEFAULT, 9.0), (INT8, 6.0)], 8.0, True),
        ([(DEFAULT, 9.0), (INT8, 6.0), (INT8, 5.0), (INT8, 5.0)], 8.0, False),
    ],
)
def test_time_is_up_when_the_longest_of_the_last_three_would_not_fit(walls, left_s, is_up):
    measured = [entry(candidate, 100, wall_s=wall_s) for candidate, wall_s in walls]
    assert time_is_up(measured, DEFAULT, left_s) is is_up
