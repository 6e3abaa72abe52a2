import os
import platform
from pathlib import Path

import pytest

from onepath.contract.processor import processor_from_cpuinfo, this_processor


@pytest.mark.parametrize(
    ("cpuinfo", "name"),
    [
        ("processor : 0\nmodel name : AMD  EPYC 9\n", "AMD EPYC 9"),
        ("processor : 0\nmodel name : A\nmodel name : B\n", "A"),
        ("Hardware\t: BCM2835\n", "BCM2835"),
        ("model name :\ncpu model : MIPS\n", "MIPS"),
    ],
)
def test_the_processor_has_the_first_name_that_linux_gives_it(cpuinfo, name):
    assert processor_from_cpuinfo(cpuinfo).name == name


def test_a_processor_without_a_name_has_its_architecture():
    assert processor_from_cpuinfo("flags : fpu\n").name == os.uname().machine


@pytest.mark.parametrize("key", ["flags\t\t", "Features\t"])
def test_its_instructions_are_what_linux_calls_flags_or_features(key):
    found = processor_from_cpuinfo(f"bugs : spectre_v1\n{key}: fpu bf16\n{key}: fpu avx2\n")
    assert found.flags == {"fpu", "bf16", "avx2"}


@pytest.mark.skipif(platform.system() != "Linux", reason="other systems have no /proc/cpuinfo")
def test_this_processor_is_that_of_the_machine():
    text = Path("/proc/cpuinfo").read_text()
    found = this_processor()
    assert found.flags
    assert all(flag in text for flag in found.flags)
