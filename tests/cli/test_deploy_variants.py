"""`onepath deploy`: which graph, and whose settings."""

import json

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
