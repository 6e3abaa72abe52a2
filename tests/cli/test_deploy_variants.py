"""`onepath deploy`: which graph, and whose settings."""

import json
import shlex

from onepath.cli.deploy import deploy_command
from onepath.server import DeploySettings
from tests.export.engine import dispatched
from tests.server.bundles import write_bundle


def graph_settings(workspace):
    (record,) = (workspace / "r").glob("tiny/1/deployment.json")
    return json.loads(record.read_text())["settings"]


def test_the_precision_that_was_deployed_is_said(onepath, workspace):
    assert " in fp32 to r" in onepath("deploy", "tiny", "-r", "r").stdout


def test_a_precision_picks_a_graph(onepath, workspace):
    write_bundle(workspace / "build/tuned", variants={"int8": (1.0, 2.0, 3.02)}, gate=0.05)
    assert " in int8 to r" in onepath("deploy", "tuned", "-r", "r", "--precision", "int8").stdout


def test_a_precision_that_is_not_there_is_refused_with_those_that_are(onepath, workspace):
    found = onepath("deploy", "tiny", "-r", "r", "--precision", "bf16")
    assert found.exit_code == 1
    assert "it has fp32; build one with `onepath build RECIPE --precision bf16`" in found.stderr


def test_what_is_not_said_is_taken_from_the_bundle(onepath, workspace):
    own = {"precision": "int8", "graph_instances": 3, "intra_op_threads": 2, "max_queue_delay_us": 250}
    write_bundle(workspace / "build/tuned", variants={"int8": (1.0, 2.0, 3.02)}, gate=0.05, deployment=own)
    onepath("deploy", "tuned", "-r", "r", "--threads", 1)
    settings = graph_settings(workspace)
    assert {name: settings[name] for name in own} == own | {"intra_op_threads": 1}


def test_an_engine_that_is_required_and_missing_is_refused(onepath, workspace):
    found = onepath("deploy", "tiny", "-r", "r", "--kind", "gpu", "--engine", "require")
    assert found.exit_code == 1
    assert "no engine of its graph in fp32; it has none" in found.stderr


def test_spinning_and_preferred_batches_can_be_given(onepath, workspace):
    options = ("--spinning", "--preferred-batch-size", 8, "--preferred-batch-size", 4)
    assert onepath("deploy", "tiny", "-r", "r", *options).exit_code == 0
    settings = graph_settings(workspace)
    assert (settings["allow_spinning"], settings["preferred_batch_sizes"]) == (True, [8, 4])


def test_what_the_bundle_says_of_them_can_be_taken_back(onepath, workspace):
    own = {"allow_spinning": True, "preferred_batch_sizes": [4]}
    write_bundle(workspace / "build/tuned", deployment=own)
    onepath("deploy", "tuned", "-r", "r")
    assert {name: graph_settings(workspace)[name] for name in own} == own
    onepath("deploy", "tuned", "-r", "r", "--no-spinning", "--preferred-batch-size", 0)
    settings = graph_settings(workspace)
    assert (settings["allow_spinning"], settings["preferred_batch_sizes"]) == (False, [])


def test_no_preferred_batch_and_one_contradict_each_other(onepath, workspace):
    found = onepath("deploy", "tiny", "-r", "r", "--preferred-batch-size", 0, "--preferred-batch-size", 4)
    assert found.exit_code == 2
    assert "cannot be given beside other sizes" in found.stderr


def test_a_preferred_batch_that_is_larger_than_the_bundles_is_refused(onepath, workspace):
    found = onepath("deploy", "tiny", "-r", "r", "--preferred-batch-size", 9)
    assert found.exit_code == 1
    assert "tiny takes at most 8 rows at once, and a preferred batch has 9" in found.stderr


def test_the_printed_command_gives_every_setting_whatever_the_bundle_says(onepath, workspace):
    own = {"graph_instances": 5, "allow_spinning": True, "preferred_batch_sizes": [4], "max_queue_delay_us": 9}
    path = write_bundle(workspace / "build/tuned", variants={"int8": (1.0, 2.0, 3.02)}, gate=0.05, deployment=own).path
    chosen = DeploySettings(
        precision="int8",
        preprocess_instances=2,
        graph_instances=3,
        intra_op_threads=2,
        preferred_batch_sizes=(),
        max_queue_delay_us=500,
    ).model_dump(mode="json", exclude={"engine"})
    program, *words = shlex.split(deploy_command(path, chosen))
    assert (program, onepath(*words, "-r", "r").exit_code) == ("onepath", 0)
    settings = graph_settings(workspace)
    assert {name: settings[name] for name in chosen} == chosen


def test_a_graph_that_gains_nothing_on_a_cpu_is_deployed_with_a_note(onepath, workspace):
    dispatched.write_bundle(workspace / "build/low")
    found = onepath("deploy", "low", "-r", "r", "--precision", "fp16")
    assert found.exit_code == 0
    assert "note: on a CPU, ONNX Runtime computes fp16 in float32" in found.stderr
    assert "deploy with --kind gpu, or with --precision fp32\n" in found.stderr  # the bundle has no int8
    assert "note" not in onepath("deploy", "low", "-r", "r").stderr


def test_a_graph_that_a_cpu_cannot_run_is_refused_with_what_to_do(onepath, workspace):
    dispatched.write_bundle(workspace / "build/low", low="bf16")
    found = onepath("deploy", "low", "-r", "r", "--precision", "bf16")
    assert found.exit_code == 1
    assert "deploy with --kind gpu, or with --precision fp32" in found.stderr
