"""How TensorRT is called, by a module that notes the calls; no TensorRT and no GPU has run any of it here."""

import sys
from types import SimpleNamespace

import pytest
import torch

from onepath.export.engine import BuildOptions, EngineRefusedError
from onepath.export.engine.tensorrt_builder import TensorRTBuilder, UnusableTensorRTError


class FakeTensorRT:
    """The part of TensorRT's Python API that is called, as its reference describes it."""

    def __init__(self, version="10.14.1", *, parses=True, plan=b"plan", takes_cache=True):
        self.__version__ = version
        self.noted = {"profile": {}, "caches": []}
        self._parses, self._plan, self._takes_cache = parses, plan, takes_cache
        self.NetworkDefinitionCreationFlag = SimpleNamespace(STRONGLY_TYPED=1)
        self.MemoryPoolType = SimpleNamespace(WORKSPACE="workspace")
        self.ProfilingVerbosity = SimpleNamespace(DETAILED="detailed")
        self.BuilderFlag = SimpleNamespace(TF32="tf32")
        self.TensorIOMode = SimpleNamespace(INPUT="input", OUTPUT="output")
        self.LayerInformationFormat = SimpleNamespace(JSON="json")
        self.ILogger = type(
            "ILogger",
            (),
            {"Severity": SimpleNamespace(INTERNAL_ERROR=0, ERROR=1, WARNING=2), "__init__": lambda self: None},
        )

    def Builder(self, logger):
        def refuse_or_build(network, config):
            logger.log(self.ILogger.Severity.WARNING, "slow")
            logger.log(self.ILogger.Severity.ERROR, "no kernel\nfor it")
            self.noted["verbosity"] = config.profiling_verbosity
            return self._plan

        return SimpleNamespace(
            create_network=self._network,
            create_builder_config=self._config,
            create_optimization_profile=lambda: SimpleNamespace(
                set_shape=lambda name, *shapes: self.noted["profile"].update({name: shapes})
            ),
            build_serialized_network=refuse_or_build,
        )

    def _network(self, flags):
        self.noted["flags"] = flags
        tensors = [
            SimpleNamespace(name="image", shape=(-1, 3, 8, 8)),
            SimpleNamespace(name="image_state", shape=(-1, 1)),
        ]
        return SimpleNamespace(num_inputs=2, get_input=tensors.__getitem__)

    def _config(self):
        return SimpleNamespace(
            set_memory_pool_limit=lambda pool, size: self.noted.update({pool: size}),
            clear_flag=lambda flag: self.noted.update(cleared=flag),
            add_optimization_profile=lambda profile: None,
            create_timing_cache=lambda data: None if data == b"damaged" else data,
            set_timing_cache=self._set_cache,
            get_timing_cache=lambda: SimpleNamespace(serialize=lambda: b"measured"),
        )

    def _set_cache(self, cache, ignore_mismatch):
        self.noted["caches"].append((cache, ignore_mismatch))
        return self._takes_cache or not cache

    def OnnxParser(self, network, logger):
        error = SimpleNamespace(
            node_name=lambda: "node_NonZero_21",
            node_operator=lambda: "NonZero",
            desc=lambda: "data-dependent\nshape",
            code=lambda: "UNSUPPORTED_NODE",
        )
        return SimpleNamespace(parse_from_file=lambda path: self._parses, num_errors=1, get_error=lambda index: error)

    def Runtime(self, logger):
        return SimpleNamespace(deserialize_cuda_engine=lambda data: self._engine())

    def _engine(self):
        tensors = ["image", "scores"]
        shapes = {}
        context = SimpleNamespace(set_input_shape=shapes.__setitem__, infer_shapes=list)
        inspector = SimpleNamespace(
            get_engine_information=lambda form: f"{form} of {inspector.execution_context is context} at {shapes}"
        )
        return SimpleNamespace(
            num_io_tensors=2,
            get_tensor_name=tensors.__getitem__,
            get_tensor_mode=lambda name: "input" if name == "image" else "output",
            get_tensor_profile_shape=lambda name, profile: ((1, 3), (4, 3), (8, 3)),
            create_execution_context=lambda: context,
            create_engine_inspector=lambda: inspector,
        )


@pytest.fixture
def start(monkeypatch):
    """Return what starts a builder on a machine with a GPU and some TensorRT."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (9, 0))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "NVIDIA H200")

    def started(library):
        monkeypatch.setitem(sys.modules, "tensorrt", library)
        return TensorRTBuilder()

    return started


OPTIONS = BuildOptions(opt_rows=4, max_rows=16, workspace_bytes=1 << 30)


@pytest.mark.parametrize(("version", "flags"), [("10.12.0.36", 2), ("11.4.1", 0)])
def test_the_network_is_strongly_typed_by_a_flag_of_10_and_always_in_11(start, tmp_path, version, flags):
    library = FakeTensorRT(version)
    assert start(library).build(tmp_path / "g.onnx", OPTIONS) == b"plan"
    assert library.noted["flags"] == flags


def test_every_input_has_a_profile_from_one_row_to_the_most(start, tmp_path):
    library = FakeTensorRT()
    start(library).build(tmp_path / "g.onnx", OPTIONS)
    assert library.noted["profile"] == {
        "image": ((1, 3, 8, 8), (4, 3, 8, 8), (16, 3, 8, 8)),
        "image_state": ((1, 1), (4, 1), (16, 1)),
    }


def test_the_workspace_is_bounded_float32_is_float32_and_the_inspector_will_tell_types(start, tmp_path):
    library = FakeTensorRT()
    start(library).build(tmp_path / "g.onnx", OPTIONS)
    noted = library.noted
    assert (noted["workspace"], noted["cleared"], noted["verbosity"]) == (1 << 30, "tf32", "detailed")


def test_measured_times_are_read_and_written(start, tmp_path):
    library, cache = FakeTensorRT(), tmp_path / "timing.cache"
    for _ in range(2):
        start(library).build(tmp_path / "g.onnx", BuildOptions(1, 1, 1, cache))
    assert library.noted["caches"] == [(b"", False), (b"measured", False)]
    assert cache.read_bytes() == b"measured"


def test_times_of_another_gpu_are_not_used(start, tmp_path):
    library, cache = FakeTensorRT(takes_cache=False), tmp_path / "timing.cache"
    cache.write_bytes(b"of another")
    start(library).build(tmp_path / "g.onnx", BuildOptions(1, 1, 1, cache))
    assert library.noted["caches"] == [(b"of another", False), (b"", False)]


def test_damaged_times_are_not_used_and_are_replaced(start, tmp_path):
    library, cache = FakeTensorRT(), tmp_path / "timing.cache"
    cache.write_bytes(b"damaged")
    start(library).build(tmp_path / "g.onnx", BuildOptions(1, 1, 1, cache))
    assert library.noted["caches"] == [(b"", False)]
    assert cache.read_bytes() == b"measured"


def test_the_folder_of_the_measured_times_is_made(start, tmp_path):
    cache = tmp_path / "caches" / "h200" / "timing.cache"
    start(FakeTensorRT()).build(tmp_path / "g.onnx", BuildOptions(1, 1, 1, cache))
    assert [path.name for path in cache.parent.iterdir()] == ["timing.cache"]


def test_what_the_parser_refuses_is_listed_by_node(start, tmp_path):
    with pytest.raises(EngineRefusedError) as refused:
        start(FakeTensorRT(parses=False)).build(tmp_path / "g.onnx", OPTIONS)
    assert refused.value.problems == ("node node_NonZero_21 (NonZero): data-dependent shape [UNSUPPORTED_NODE]",)
    assert "TensorRT 10.14.1 cannot make an engine" in str(refused.value)


def test_what_the_builder_refuses_is_what_it_logged_as_an_error(start, tmp_path):
    with pytest.raises(EngineRefusedError) as refused:
        start(FakeTensorRT(plan=None)).build(tmp_path / "g.onnx", OPTIONS)
    assert refused.value.problems == ("no kernel for it",)


def test_the_inspector_sees_the_shapes_that_the_engine_is_tuned_for(start):
    assert start(FakeTensorRT()).inspect(b"plan") == "json of True at {'image': (4, 3)}"


def test_the_device_is_the_one_that_torch_uses(start):
    device = start(FakeTensorRT()).device
    assert (device.name, device.compute_capability) == ("NVIDIA H200", "9.0")


@pytest.mark.parametrize("version", ["10.9.0.34", "8.6.1", "12.0.0"])
def test_a_version_that_the_calls_are_not_written_for_is_refused(start, version):
    with pytest.raises(UnusableTensorRTError, match=rf"TensorRT is {version}, and 10\.12 up to 11"):
        start(FakeTensorRT(version))


def test_a_machine_without_a_gpu_is_told_so(start, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UnusableTensorRTError, match="sees no GPU"):
        start(FakeTensorRT())
