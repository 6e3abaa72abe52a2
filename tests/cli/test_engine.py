"""`onepath engine` on a machine without TensorRT: it says what is missing, and prints a command that has it."""

import re
import shlex
from pathlib import Path

import pytest

import onepath as package

ROOT = Path(__file__).parents[2]


def test_a_precision_that_the_bundle_has_no_graph_in_is_told_before_tensorrt_is_looked_for(onepath, workspace):
    found = onepath("engine", "tiny", "--precision", "bf16")
    assert found.exit_code == 1
    assert "has no graph in bf16, only in fp32" in found.stderr
    assert "onepath build RECIPE --precision bf16" in found.stderr


def test_without_tensorrt_it_says_what_to_install(onepath, workspace):
    found = onepath("engine", "tiny")
    assert found.exit_code == 1
    assert "onepath[tensorrt]" in found.stderr


def test_the_printed_command_mounts_the_bundle_and_asks_for_the_same_engine(onepath, workspace):
    stderr = onepath("engine", "tiny", "--opt-rows", 4, "--workspace-gib", 0.5, "--split").stderr
    (line,) = (line for line in stderr.splitlines() if line.strip().startswith("docker run"))
    words = shlex.split(line)
    assert words[:5] == ["docker", "run", "--rm", "--gpus", "all"]
    assert words[words.index("-v") + 1] == f"{workspace / 'build'}:/bundles"
    assert re.fullmatch(r"nvcr\.io/nvidia/tensorrt:\d\d\.\d\d-py3", words[-4])
    inside = words[-1].partition(" && ")[2]
    assert inside == "onepath engine /bundles/tiny --precision fp32 --opt-rows 4 --workspace-gib 0.5 --split"


@pytest.mark.skipif(Path(package.__file__).parents[1] != ROOT, reason="onepath is installed from elsewhere")
def test_from_a_checkout_the_printed_command_mounts_it_read_only_and_installs_it(onepath, workspace):
    (line,) = (line for line in onepath("engine", "tiny").stderr.splitlines() if "docker run" in line)
    words = shlex.split(line)
    mounts = [words[place + 1] for place, word in enumerate(words) if word == "-v"]
    assert mounts == [f"{workspace / 'build'}:/bundles", f"{ROOT}:/onepath:ro"]
    assert words[-1].startswith('pip install "/onepath[export]" && onepath engine')


def test_without_rows_to_tune_for_the_printed_command_leaves_them_to_the_bundle_as_well(onepath, workspace):
    assert "onepath engine /bundles/tiny --precision fp32 --workspace-gib 4'" in onepath("engine", "tiny").stderr


@pytest.mark.parametrize("option", [("--opt-rows", "0"), ("--precision", "fp8"), ("--workspace-gib", "0")])
def test_options_out_of_range_are_refused(onepath, workspace, option):
    assert onepath("engine", "tiny", *option).exit_code == 2


def test_the_bundle_is_left_as_it_was(onepath, workspace):
    before = (workspace / "build/tiny/manifest.json").read_bytes()
    onepath("engine", "tiny")
    assert (workspace / "build/tiny/manifest.json").read_bytes() == before


def test_the_printed_container_is_that_of_the_release_that_is_given(onepath, workspace):
    stderr = onepath("engine", "tiny", "--release", "25.12").stderr
    assert "nvcr.io/nvidia/tensorrt:25.12-py3" in stderr
    assert "--release 25.12" in stderr


def test_the_tensorrt_to_install_is_the_one_that_the_release_has(onepath, workspace):
    assert (
        'pip install "onepath[tensorrt]" "tensorrt==10.14.1.*"'
        in onepath("engine", "tiny", "--release", "25.12").stderr
    )
    assert 'pip install "onepath[tensorrt]", or' in onepath("engine", "tiny", "--release", "26.09").stderr


def test_a_release_whose_tensorrt_is_too_old_is_told_before_tensorrt_is_looked_for(onepath, workspace):
    found = onepath("engine", "tiny", "--release", "24.10")
    assert found.exit_code == 1
    assert "triton-24.10 has 10.5, and engines are built with 10.12 or newer" in found.stderr
    assert "docker" not in found.stderr
