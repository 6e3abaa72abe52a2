"""What a graph is proved on, and that the proof sees a graph that is a little wrong."""

import json

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from onepath.contract.errors import ParityError, UnsupportedModuleError
from onepath.contract.manifest import ModalityEntry
from onepath.export.graphs.dispatch import PresenceGraph
from onepath.export.graphs.exporter import onnx_file_from_graph
from onepath.export.graphs.onnx_file import OnnxFile, onnx_file_from_model
from onepath.export.proving.onnx_parity import parity_batches, prove_onnx, prove_pass
from onepath.export.proving.sessions import GraphSession
from onepath.export.rows import RowSource
from onepath.export.tolerances import Tolerances
from onepath.modalities import settings_in_full, tensor_from_settings

COLUMNS = {"size": {"columns": [{"name": "a"}, {"name": "b"}]}, "age": {"columns": [{"name": "years"}]}}
RAW = [{"size": (1, -2), "age": (5,)}, {"size": (3, 4), "age": (-1,)}, {"size": (-5, 6), "age": (2,)}]
MAX = 8


def entry(name, tmp, **changes) -> ModalityEntry:
    settings, limits = settings_in_full(name, "tabular", COLUMNS[name], {})
    tensor = tensor_from_settings(name, "tabular", settings, limits, tmp)
    rules = {"absent": "remerge", "on_bad_payload": "absent"} | changes
    return ModalityEntry(name=name, kind="tabular", tensor=tensor, settings=settings, limits=limits, **rules)


def source_in(tmp, **changes) -> RowSource:
    rows = [{name: json.dumps(values).encode() for name, values in row.items()} for row in RAW]
    return RowSource([entry("size", tmp, **changes), entry("age", tmp)], tmp, rows)


class Total(nn.Module):
    """Scores are the sum of what is there, times a vector each."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.modalities = ("size", "age")
        self.encoders = nn.ModuleDict({"size": First(2), "age": First(1)})

    def absent(self, modality):
        return torch.zeros(3)

    def fuse(self, features, present):
        return {"scores": features["size"] + features["age"]}


class First(nn.Module):
    """The first numbers of a row, and how many of its columns are there, times a matrix."""

    def __init__(self, columns):
        super().__init__()
        self.linear = nn.Linear(columns, 3)

    def forward(self, values):
        return torch.tanh(self.linear(values.to(self.linear.weight.dtype).flatten(1)[:, : self.linear.in_features]))


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return source_in(tmp_path_factory.mktemp("assets"))


@pytest.fixture(scope="module")
def graph():
    return PresenceGraph(Total().eval(), "classification").eval()


@pytest.fixture(scope="module")
def file(graph, source, tmp_path_factory):
    specs = [entry.tensor for entry in source.modalities]
    path = tmp_path_factory.mktemp("graph") / "model.onnx"
    return onnx_file_from_graph(graph, specs, outputs=["scores"], opset=20, ir_version=10, path=path)


def values(batch, name, columns):
    return batch.values[name].reshape(batch.rows, -1)[:, :columns].tolist()


def states(batch):
    return np.concatenate([batch.states["size"], batch.states["age"]], axis=1).tolist()


def test_the_sizes_are_one_two_half_all_but_one_and_all(source):
    sizes = [batch.rows for batch in parity_batches(source, MAX, seed=0).near if "mixed patterns" in batch.title]
    assert sizes == [1, 2, 4, 7, 8]
    assert [batch.rows for batch in parity_batches(source, 1, seed=0).near[:1]] == [1]


def test_extreme_values_are_zeros_and_each_column_s_least_and_greatest(source):
    zeros, minima, maxima, constants = source.extreme_values(2)
    assert values(zeros, "size", 2) == [[0, 0], [0, 0]]
    assert values(minima, "size", 2) == [[-5, -2], [-5, -2]]
    assert values(maxima, "size", 2) == [[3, 6], [3, 6]]
    assert values(maxima, "age", 1) == [[5], [5]]
    assert all(states(batch) == [[1, 1], [1, 1]] for batch in (zeros, minima, maxima, constants))


def test_a_constant_row_has_one_number_in_all_places_and_another_row_another(source):
    rows = source.extreme_values(2)[3].values["size"].reshape(2, -1)
    assert [len(set(row)) for row in rows.tolist()] == [1, 1]
    assert rows[0, 0] < rows[1, 0]


def test_odd_states_are_one_row_repeated_none_at_all_one_among_none_and_failed(source):
    same, nothing, one, failed = source.odd_states(3)
    assert values(same, "size", 2) == [[1, -2]] * 3
    assert states(nothing) == [[0, 0]] * 3
    assert states(one) == [[0, 0], [1, 1], [0, 0]]
    assert states(failed) == [[2, 2], [2, 1], [1, 2]]


def test_a_row_without_a_required_modality_has_failed(tmp_path):
    required = source_in(tmp_path, absent="required", on_bad_payload="fail")
    _, nothing, one, _ = required.odd_states(3)
    assert states(nothing) == [[2, 0]] * 3
    assert states(one) == [[2, 0], [1, 1], [2, 0]]


def test_the_proof_covers_every_batch_within_its_tolerance(graph, file, source):
    proof = prove_onnx(graph, file, batches=parity_batches(source, MAX, seed=0), tolerances=Tolerances())
    inputs = {measured.inputs: measured.tolerance for measured in proof.measurements}
    assert inputs["4 held-out rows of mixed patterns"] == 1e-5
    assert inputs["2 held-out rows with size+age"] == 1e-5
    assert inputs["3 failed rows"] == 1e-5
    assert inputs["3 rows of minima of the held-out rows"] == 1e-4
    assert inputs["8 random rows, seed 0"] == 1e-4
    assert all(measured.error < 1e-6 for measured in proof.measurements)
    assert proof.writes == file.digest
    assert proof.notes["no_rows"] == "answered with no rows"


def scaled(file, path, name, factor):
    model = file.model()
    (weight,) = (tensor for tensor in model.graph.initializer if tensor.name.endswith(name))
    array = onnx.numpy_helper.to_array(weight) * np.float32(factor)
    weight.CopyFrom(onnx.numpy_helper.from_array(array, weight.name))
    return onnx_file_from_model(model, path / "model.onnx")


def test_a_weight_off_by_a_tenth_of_a_percent_is_seen_by_either_proof(graph, file, source, tmp_path):
    wrong = scaled(file, tmp_path, "age.encoder.linear.bias", 1.001)
    batches = parity_batches(source, MAX, seed=0)
    with pytest.raises(ParityError, match="onnx changed the result"):
        prove_onnx(graph, wrong, batches=batches, tolerances=Tolerances())
    with pytest.raises(ParityError, match="the pass over the graph changed the result"):
        prove_pass(file, wrong, batches=batches, tolerances=Tolerances())


def test_a_graph_is_as_it_was_before_a_pass_that_does_nothing(file, source):
    measured = prove_pass(file, file, batches=parity_batches(source, MAX, seed=0), tolerances=Tolerances())
    assert {entry.error for entry in measured} == {0.0}


def test_a_graph_that_takes_one_number_of_rows_alone_is_refused_with_the_batch(graph, file, source, tmp_path):
    model = file.model()
    last = next(node for node in model.graph.node if "scores" in node.output)
    last.output[0] = "free"
    shape = onnx.numpy_helper.from_array(np.array([8, 3]), "eight")
    model.graph.initializer.append(shape)
    model.graph.node.append(onnx.helper.make_node("Reshape", ["free", "eight"], ["scores"]))
    fixed = onnx_file_from_model(model, tmp_path / "model.onnx")
    with pytest.raises(UnsupportedModuleError, match=r"cannot be run on 1 held-out rows.*any number of rows") as caught:
        prove_onnx(graph, fixed, batches=parity_batches(source, MAX, seed=0), tolerances=Tolerances())
    assert "Reshape" in str(caught.value)


def test_a_graph_that_the_engine_cannot_load_is_refused(file, tmp_path):
    model = file.model()
    model.graph.node[0].op_type = "NoSuchOperator"
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(UnsupportedModuleError, match=r"cannot be loaded: .*NoSuchOperator"):
        GraphSession(OnnxFile(tmp_path / "model.onnx"))


class InCompany(nn.Module):
    """A row less the mean of all rows: for rows that are all the same it is the same in any company."""

    def forward(self, values):
        wide = values.to(torch.float32).flatten(1)
        return 100 * (wide - wide.mean(0)).sum(1, keepdim=True).expand(-1, 3)


def test_rows_that_depend_on_each_other_are_seen_though_the_held_out_ones_are_all_alike(source, tmp_path):
    model = Total().eval()
    model.encoders["size"] = InCompany()
    graph = PresenceGraph(model, "embedding").eval()
    specs = [entry.tensor for entry in source.modalities]
    file = onnx_file_from_graph(graph, specs, outputs=["scores"], opset=20, ir_version=10, path=tmp_path / "model.onnx")
    alike = RowSource(source.modalities, source.assets, source.rows[:1])
    with pytest.raises(ParityError, match=r"row independence in ONNX Runtime .* random rows"):
        prove_onnx(graph, file, batches=parity_batches(alike, MAX, seed=0), tolerances=Tolerances())
