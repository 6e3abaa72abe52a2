import pytest
import torch

from onepath.export.robustness import ReportSettings, robustness_report
from tests.export.robustness.adder import FOR_CLASS_0, NO_BIAS, TARGETS, source_of_votes, write_adder


@pytest.fixture(scope="session")
def graphs(tmp_path_factory):
    """Graphs for image and audio: without a bias, and with one that makes zeros of audio a vote for class 0."""
    folder = tmp_path_factory.mktemp("adders")
    return {
        "plain": write_adder(folder / "plain.onnx", {"image": NO_BIAS, "audio": NO_BIAS}),
        "biased": write_adder(folder / "biased.onnx", {"image": NO_BIAS, "audio": FOR_CLASS_0}),
    }


@pytest.fixture(scope="session")
def report_of(graphs):
    """Return a report of the twelve rows of votes, with the encoders as they vote."""

    def make(graph="biased", source=None, **changes):
        given = {"targets": TARGETS, "task": "classification", "settings": ReportSettings(max_batch_size=5)} | changes
        given.setdefault("encoders", {"image": torch.nn.Identity(), "audio": torch.nn.Identity()})
        return robustness_report(graphs[graph], source=source or source_of_votes(), **given)

    return make


@pytest.fixture(scope="session")
def report(report_of):
    return report_of()
