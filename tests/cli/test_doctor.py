import json
import shutil
import subprocess
import sys

import pytest

from onepath.cli.machine import Fact, can_serve, cpu_fact, gpus_from_csv, shared_memory_fact
from onepath.contract.processor import processor_from_cpuinfo


@pytest.fixture
def fake_triton(tmp_path):
    """Put a `tritonserver` of a few lines on a PATH."""

    def write(script, *, python_backend=True):
        (tmp_path / "bin").mkdir()
        program = tmp_path / "bin" / "tritonserver"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        if python_backend:
            (tmp_path / "backends" / "python").mkdir(parents=True)
            (tmp_path / "backends" / "python" / "libtriton_python.so").touch()
        return f"{program.parent}:/usr/bin:/bin"

    return write


def facts(done):
    return {fact["name"]: fact for fact in json.loads(done.stdout)["facts"]}


def test_a_machine_with_the_embedded_server_can_serve(onepath):
    found = onepath("doctor")
    assert found.exit_code == 0
    assert found.stdout.endswith("it can serve\n")


def test_the_facts_are_json_where_asked(onepath):
    found = onepath("doctor", "--json")
    assert json.loads(found.stdout)["can_serve"] is True
    names = facts(found)
    assert "CPU" in names["ONNX Runtime"]["value"]
    assert {"onepath", "Python", "Triton", "GPU", "shared memory", "CPU", "numpy"} <= set(names)


def test_a_triton_without_a_python_backend_cannot_serve(onepath_process, fake_triton):
    path = fake_triton("exit 0", python_backend=False)
    done = onepath_process("doctor", PATH=path)
    assert done.returncode == 1
    assert "has no Python backend" in done.stdout
    assert "it cannot serve yet" in done.stdout


def test_a_triton_that_does_not_start_cannot_serve(onepath_process, fake_triton):
    path = fake_triton("echo 'libdcgm.so.4: cannot open shared object file' >&2; exit 127")
    done = onepath_process("doctor", "--json", PATH=path)
    assert done.returncode == 1
    assert "does not start: libdcgm.so.4: cannot open" in facts(done)["Triton"]["value"]


def test_a_native_triton_that_starts_is_named(onepath_process, fake_triton):
    path = fake_triton("echo '  --model-repository <path>'; exit 1")
    done = onepath_process("doctor", "--json", PATH=path)
    assert done.returncode == 0
    assert facts(done)["Triton"]["value"].startswith("native, ")


REFUSING = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {refused!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Refuse())
from onepath.cli import main
sys.argv = ["onepath", *{arguments!r}]
main()
"""


def without(refused, *arguments, cwd):
    """Run a command where packages are not installed."""
    program = REFUSING.format(refused=refused, arguments=arguments)
    return subprocess.run([sys.executable, "-c", program], cwd=cwd, capture_output=True, text=True, check=False)


def test_a_base_installation_cannot_serve_and_says_what_to_install(workspace):
    done = without(["onnxruntime", "PIL", "soundfile"], "doctor", "--json", cwd=workspace)
    assert (done.returncode, done.stderr) == (1, "")
    advice = {name: fact["advice"] for name, fact in facts(done).items() if not fact["ok"]}
    assert set(advice) == {"ONNX Runtime", "Pillow", "soundfile"}
    assert all("onepath[serve]" in text for text in advice.values())


@pytest.mark.parametrize(
    ("package", "extra", "arguments"),
    [
        ("pyarrow", "serve", ["score", "tiny", "--input", "rows.parquet", "--output", "scored"]),
        ("onnxruntime", "serve", ["score", "tiny", "--input", "rows.parquet", "--output", "scored"]),
        ("PIL", "serve", ["score", "tiny", "--input", "rows.parquet", "--output", "scored"]),
        ("torch", "export", ["build", "recipe.yaml"]),
    ],
)
def test_a_command_that_lacks_a_package_names_the_extra_that_brings_it(workspace, package, extra, arguments):
    done = without([package], *arguments, cwd=workspace)
    assert done.returncode == 1
    assert f'pip install "onepath[{extra}]"' in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("missing", "serves"),
    [
        (Fact("x", "none", ok=False, needed_for="serving"), False),
        (Fact("x", "none", ok=False, needed_for="scoring"), True),
        (Fact("x", "none", ok=False), True),
    ],
)
def test_only_what_serving_needs_keeps_a_machine_from_serving(missing, serves):
    assert can_serve([Fact("y", "1.0", needed_for="serving"), missing]) is serves


def test_little_shared_memory_is_said_with_what_to_do(tmp_path):
    free = shutil.disk_usage(tmp_path).free
    assert shared_memory_fact(tmp_path, needed_bytes=free // 2).ok
    scarce = shared_memory_fact(tmp_path, needed_bytes=free * 2)
    assert not scarce.ok
    assert "--shm-size" in scarce.advice


def test_of_the_processors_instructions_those_that_matter_are_told():
    processor = processor_from_cpuinfo("processor\t: 0\nflags\t\t: fpu avx2 amx_int8 avx512_vnni\n")
    assert cpu_fact(processor).value.endswith("avx2, avx512_vnni, amx_int8")


def test_a_machine_without_cpuinfo_has_no_known_flags():
    assert cpu_fact(processor_from_cpuinfo("")).value.endswith("no vector flags known")


def test_a_gpu_is_named_with_what_to_do_to_use_it(onepath_process, workspace):
    (workspace / "bin").mkdir()
    program = workspace / "bin" / "nvidia-smi"
    program.write_text("#!/bin/sh\necho NVIDIA H200, 143771 MiB, 570.86, 9.0\n")
    program.chmod(0o755)
    done = onepath_process("doctor", "--json", PATH=f"{program.parent}:/usr/bin:/bin")
    gpu = facts(done)["GPU"]
    assert gpu["value"] == "NVIDIA H200 (143771 MiB, driver 570.86, compute capability 9.0)"
    assert "--kind gpu" in gpu["advice"]


def test_every_gpu_is_named():
    printed = "NVIDIA H200, 143771 MiB, 570.86, 9.0\nNVIDIA T4, 15360 MiB, 570.86, 7.5\n"
    assert gpus_from_csv(printed) == (
        "NVIDIA H200 (143771 MiB, driver 570.86, compute capability 9.0); "
        "NVIDIA T4 (15360 MiB, driver 570.86, compute capability 7.5)"
    )
