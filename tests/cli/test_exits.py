import os
import signal
import tempfile
import time

import pytest

from onepath.cli.exits import terminable

RECIPE = """
name: failing
task: classification
labels: [low, high]
code: train.py
modalities:
  text: {kind: text, settings: {tokenizer: characters, length: 8}}
bundles:
  failing: {model: encoder, source: text}
"""


@pytest.fixture
def recipe(workspace):
    """Write a recipe whose training code is one line."""

    def write(line):
        (workspace / "recipe.yaml").write_text(RECIPE)
        (workspace / "train.py").write_text(f"import signal\n\n\ndef train(settings, *, seed, progress):\n    {line}\n")
        return "recipe.yaml"

    return write


@pytest.mark.parametrize(
    "arguments",
    [
        ["bild"],
        ["score", "tiny"],
        ["verify"],
        ["doctor", "--fast"],
        ["score", "tiny", "--input", "rows.parquet", "--output", "scored", "--column", "photo"],
        ["serve", "--grpc-port", "70000"],
        ["predict", "tiny", "--image"],
        ["predict", "tiny", "--image", "a.png", "--image", "b.png"],
        ["predict", "tiny", "a.png"],
        ["deploy", "tiny", "--kind", "tpu"],
    ],
)
def test_wrong_usage_exits_with_2_and_points_to_help(onepath, workspace, arguments):
    found = onepath(*arguments)
    assert found.exit_code == 2
    assert "--help' for help" in found.stderr


def test_a_misspelt_option_of_predict_is_told_apart_from_a_modality(onepath):
    assert "there is no --timeout_s; did you mean --timeout-s?" in onepath("predict", "tiny", "--timeout_s", "3").stderr


def test_a_job_that_cannot_be_done_exits_with_1_and_one_sentence(onepath_process):
    done = onepath_process("verify", "nowhere")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: there is no bundle nowhere (looked at nowhere, build/nowhere); ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("arguments", [["--debug", "verify", "nowhere"], ["verify", "nowhere", "--debug"]])
def test_debug_adds_the_traceback_wherever_it_stands(onepath_process, arguments):
    done = onepath_process(*arguments)
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: there is no bundle nowhere")


def test_an_option_value_after_two_dashes_is_left_alone(onepath):
    found = onepath("verify", "--", "--debug")
    assert found.exit_code == 1
    assert "Traceback" not in found.stderr


STRANGE = (
    "import onepath.export.trained as t; "
    "return t.Trained(type('Strange', (dict,), {'__contains__': lambda *a: 1 / 0})())"
)
"""Training code that returns what no check expects."""


def test_an_unforeseen_error_exits_with_70_and_says_how_to_see_more(onepath_process, recipe):
    done = onepath_process("build", recipe(STRANGE))
    assert done.returncode == 70
    assert "onepath failed unexpectedly (ZeroDivisionError: division by zero)" in done.stderr
    assert "run again with --debug" in done.stderr
    assert "Traceback" not in done.stderr


def test_debug_shows_where_an_unforeseen_error_arose(onepath_process, recipe):
    done = onepath_process("build", recipe(STRANGE), "--debug")
    assert done.returncode == 70
    assert "train.py" in done.stderr


def test_a_fault_of_training_code_exits_with_1_and_debug_shows_where(onepath_process, recipe):
    quiet = onepath_process("build", recipe("raise ZeroDivisionError('a fault of the recipe')"))
    assert quiet.returncode == 1
    assert "raised ZeroDivisionError: a fault of the recipe; run again with --debug" in quiet.stderr
    assert "Traceback" not in quiet.stderr
    assert "in train\n" in onepath_process("build", recipe("raise ZeroDivisionError"), "--debug").stderr


def test_ctrl_c_exits_with_130_and_no_traceback(onepath_process, recipe):
    done = onepath_process("build", recipe("signal.raise_signal(signal.SIGINT)"))
    assert done.returncode == 130
    assert done.stderr.endswith("interrupted\n")
    assert "Traceback" not in done.stderr


def test_a_quiet_command_logs_nothing_and_verbose_says_what_is_done(onepath_process):
    quiet = onepath_process("deploy", "tiny", "--repository", "first")
    verbose = onepath_process("deploy", "tiny", "--repository", "second", "-v")
    assert quiet.stderr == ""
    assert "deployed tiny" in " ".join(verbose.stderr.split())


def test_sigterm_unwinds_the_stack_past_whoever_takes_errors_for_reasons(tmp_path):
    def swallowing():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(5)
        except (Exception, SystemExit):  # noqa: BLE001 - as libraries and `run_code` do
            pytest.fail("the signal was taken for an error")

    with pytest.raises(SystemExit) as caught, terminable(), tempfile.TemporaryDirectory(dir=tmp_path):
        swallowing()
    assert caught.value.code == 143
    assert not [*tmp_path.iterdir()]
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_ctrl_c_is_no_sigterm():
    with pytest.raises(KeyboardInterrupt), terminable():
        raise KeyboardInterrupt
