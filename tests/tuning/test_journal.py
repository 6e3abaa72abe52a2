import pytest

from onepath.tuning.errors import TuningError
from onepath.tuning.journal import JOURNAL, Journal
from onepath.tuning.settings import Load
from tests.tuning.measured import CONTEXT, DEFAULT, INT8, MACHINE, entry

FIRST, SECOND = entry(DEFAULT, 100), entry(INT8, 150.5, at_s=7.25)
FAILED = entry(INT8)


def write(folder, *entries, context=CONTEXT):
    with Journal(folder, context) as journal:
        for each in entries:
            journal.append(each)


def read(folder, context=CONTEXT, **options):
    with Journal(folder, context, **options) as journal:
        return journal.entries


def test_what_was_written_is_read_again(tmp_path):
    write(tmp_path / "new", FIRST, SECOND, FAILED)
    assert read(tmp_path / "new") == (FIRST, SECOND, FAILED)


def test_each_measurement_is_a_line_on_the_disk_at_once(tmp_path):
    with Journal(tmp_path, CONTEXT) as journal:
        journal.append(FIRST)
        assert (tmp_path / JOURNAL).read_text().count("\n") == 1
        assert journal.entries == (FIRST,)


@pytest.mark.parametrize("kept", [1, 40, -2])
def test_a_torn_last_line_is_left_out_and_the_next_one_is_whole(tmp_path, kept):
    write(tmp_path, FIRST)
    whole = (tmp_path / JOURNAL).read_bytes()
    write(tmp_path, SECOND)
    both = (tmp_path / JOURNAL).read_bytes()
    (tmp_path / JOURNAL).write_bytes(whole + both[len(whole) :][:kept])
    assert read(tmp_path) == (FIRST,)
    write(tmp_path, SECOND)
    assert (tmp_path / JOURNAL).read_bytes() == both


def test_a_whole_line_that_is_no_measurement_is_refused_by_its_number(tmp_path):
    write(tmp_path, FIRST)
    with (tmp_path / JOURNAL).open("a") as file:
        file.write('{"speed": 3}\n')
    with pytest.raises(TuningError, match=r"line 2 of .*--fresh"):
        read(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"machine": MACHINE.model_copy(update={"cpu": "another CPU"})},
        {"machine": MACHINE.model_copy(update={"onnxruntime": "2"})},
        {"bundle_id": "cd" * 32},
        {"load": Load(concurrency=8)},
        {"kind": "gpu"},
    ],
)
def test_measurements_of_another_machine_bundle_or_load_are_not_seen_and_not_lost(tmp_path, change):
    other = CONTEXT.model_copy(update=change)
    foreign = FIRST.model_copy(update={"context": other})
    write(tmp_path, FIRST)
    write(tmp_path, foreign, context=other)
    assert read(tmp_path) == (FIRST,)
    assert read(tmp_path, other) == (foreign,)


def test_a_fresh_journal_puts_the_old_one_aside(tmp_path):
    write(tmp_path, FIRST)
    old = (tmp_path / JOURNAL).read_bytes()
    assert read(tmp_path, fresh=True) == ()
    assert (tmp_path / "journal.old.jsonl").read_bytes() == old


def test_two_runs_do_not_share_a_journal(tmp_path):
    with Journal(tmp_path, CONTEXT), pytest.raises(TuningError, match="another run holds"):
        read(tmp_path)
    assert read(tmp_path) == ()


def test_a_fresh_run_does_not_take_the_journal_from_under_another(tmp_path):
    with Journal(tmp_path, CONTEXT) as journal:
        with pytest.raises(TuningError, match="another run holds"):
            read(tmp_path, fresh=True)
        journal.append(FIRST)
    assert read(tmp_path) == (FIRST,)


def test_a_fresh_journal_is_held_as_well(tmp_path):
    write(tmp_path, FIRST)
    with Journal(tmp_path, CONTEXT, fresh=True), pytest.raises(TuningError, match="another run holds"):
        read(tmp_path)


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(TuningError, match=r"cannot write to .*--output"):
        read(tmp_path / "file")
