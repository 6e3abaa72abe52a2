import pytest

from onepath.tuning.candidates import batchings, layouts, space_from_manifest
from onepath.tuning.settings import Load, TuneSettings
from tests.server.bundles import MAX_BATCH_SIZE, write_bundle

OWN = {"graph_instances": 7, "intra_op_threads": 5, "precision": "int8", "max_queue_delay_us": 9}


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    path = tmp_path_factory.mktemp("tuned") / "tiny"
    return write_bundle(path, variants={"int8": (1.0, 2.0, 3.0)}, deployment=OWN).manifest


def space(manifest, cores=2, **load):
    return space_from_manifest(manifest, TuneSettings(load=Load(**load)), cores)


@pytest.mark.parametrize("cores", [1, 2, 3, 4, 6, 16, 96])
def test_no_layout_takes_more_threads_than_there_are_cores(cores):
    assert all(instances * threads <= cores for instances, threads in layouts(cores))
    assert layouts(cores)[0] == (cores, 1)
    assert len(set(layouts(cores))) == len(layouts(cores))


def test_two_instances_of_one_thread_and_one_of_two_are_both_tried():
    assert {(2, 1), (1, 2)} <= set(layouts(2))


def test_the_default_is_what_is_deployed_without_the_bundles_own_settings(manifest):
    settings = space(manifest).default.settings
    found = (settings.precision, settings.graph_instances, settings.intra_op_threads, settings.max_queue_delay_us)
    assert found == ("fp32", 2, 1, 0)


def test_every_setting_of_a_candidate_is_said_so_that_none_is_taken_from_the_bundle(manifest):
    settings = space(manifest).default.settings
    assert settings.model_fields_set == set(type(settings).model_fields)


def test_every_graph_of_the_bundle_is_tried(manifest):
    assert space(manifest).graphs == (("fp32", "never"), ("int8", "never"))


def test_a_graph_that_a_cpu_cannot_run_is_not_tried_on_one(tmp_path):
    written = write_bundle(tmp_path / "tiny", variants={"bf16": (1.0, 2.0, 3.0)}).manifest
    fp32, bf16 = written.graph, written.variants[0]
    chosen = written.model_copy(update={"graph": bf16, "variants": (fp32,)})
    assert space(chosen).graphs == (("fp32", "never"),)
    assert space(chosen).default.settings.precision == "fp32"
    on_gpu = space_from_manifest(chosen, TuneSettings(kind="gpu"), 2)
    assert on_gpu.graphs == (("bf16", "never"), ("fp32", "never"))
    assert on_gpu.default.settings.precision == "bf16"


def test_a_lone_request_is_not_told_to_wait_for_others(manifest):
    assert space(manifest, concurrency=1).batchings == ()
    assert space(manifest, concurrency=2).batchings != ()


@pytest.mark.parametrize(("in_flight", "sizes"), [(1, set()), (5, {(4,)}), (8, set()), (100, set())])
def test_a_preferred_batch_is_at_most_what_is_in_flight_and_less_than_the_largest(in_flight, sizes):
    assert {preferred for _, preferred in batchings(in_flight, 8)} - {()} == sizes


def test_other_numbers_of_rows_go_up_to_the_largest_batch(manifest):
    assert space(manifest, rows=1).rows == (4, MAX_BATCH_SIZE)
    assert space(manifest, rows=4).rows == (MAX_BATCH_SIZE,)
    assert space(manifest, rows=MAX_BATCH_SIZE).rows == ()
