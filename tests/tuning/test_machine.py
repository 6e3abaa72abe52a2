import os
import subprocess
import sys

import pytest

from onepath.server.triton import TritonInstallation
from onepath.tuning.cpu_time import session_cpu_s
from onepath.tuning.machine import gpu_names, triton_version

TICKS = os.sysconf("SC_CLK_TCK")


def write_process(proc, pid, session, user, system, name="python3"):
    (proc / str(pid)).mkdir()
    fields = f"S 1 {pid} {session} 0 -1 4194304 1 0 0 0 {user} {system} 900 900 20 0 1 0"
    (proc / str(pid) / "stat").write_text(f"{pid} ({name}) {fields}\n")


def test_cpu_time_is_the_sum_over_the_processes_of_a_session(tmp_path):
    write_process(tmp_path, 10, 10, user=3 * TICKS, system=TICKS)
    write_process(tmp_path, 11, 10, user=TICKS // 2, system=0, name="a (strange) name 1 2 3")
    write_process(tmp_path, 12, 12, user=50 * TICKS, system=0)
    assert session_cpu_s(10, tmp_path) == 4.5
    assert session_cpu_s(99, tmp_path) == 0


def test_a_program_that_computes_takes_cpu_time():
    program = "import time\nwhile time.process_time() < 0.3: pass\nprint(flush=True)\ninput()"
    command = [sys.executable, "-I", "-S", "-c", program]
    with subprocess.Popen(command, start_new_session=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        taken_s = session_cpu_s(process.pid)
        process.communicate(b"\n")
    assert taken_s == pytest.approx(0.3, abs=0.1)


def test_gpus_are_those_that_the_driver_lists(tmp_path):
    for bus, model in (("0000:01", "NVIDIA H200"), ("0000:02", "NVIDIA L4")):
        (tmp_path / bus).mkdir()
        (tmp_path / bus / "information").write_text(f"Model: \t\t {model}\nIRQ: 7\n")
    assert gpu_names(tmp_path) == ("NVIDIA H200", "NVIDIA L4")
    assert gpu_names(tmp_path / "nowhere") == ()


def test_a_native_triton_has_the_version_of_its_folder_or_else_a_size(tmp_path):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "tritonserver").write_bytes(b"12345")
    installation = TritonInstallation("native", tmp_path / "bin" / "tritonserver", tmp_path / "backends")
    assert triton_version(installation) == "native of 5 bytes"
    (tmp_path / "TRITON_VERSION").write_text("2.60.0\n")
    assert triton_version(installation) == "native 2.60.0"
