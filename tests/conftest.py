"""What holds for every test."""

import importlib
import os
import signal
import sys

import pytest

# A shell without job control starts background jobs with Ctrl-C ignored, and their children inherit that: tests that
# end servers by it would wait for ever.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


if "PYTEST_XDIST_WORKER" in os.environ:  # several processes share the cores: read when torch is imported
    os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def vision_ops():
    """Let timm and the vision models of transformers be imported where torchvision's compiled part cannot be."""
    import torch

    try:
        importlib.import_module("torchvision")
    except RuntimeError:  # a build of torchvision for a GPU beside a build of torch for a CPU
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        library = torch.library.Library("torchvision", "DEF")
        library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        importlib.import_module("torchvision")
        yield library
    else:
        yield None
