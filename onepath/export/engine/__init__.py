"""TensorRT engines of a bundle's graphs: built, audited, proved against ONNX Runtime, and put into the bundle."""

from onepath.export.engine.audit import Audit, EngineAuditError, UnreadableEngineError
from onepath.export.engine.build import BuiltEngine, EngineRequest, NoGraphError, build_engine
from onepath.export.engine.builder import BuildOptions, Device, EngineBuilder, EngineRefusedError
from onepath.export.engine.container import NoTensorRTError
from onepath.export.engine.releases import EngineReleaseError

__all__ = [
    "Audit",
    "BuildOptions",
    "BuiltEngine",
    "Device",
    "EngineAuditError",
    "EngineBuilder",
    "EngineRefusedError",
    "EngineReleaseError",
    "EngineRequest",
    "NoGraphError",
    "NoTensorRTError",
    "UnreadableEngineError",
    "build_engine",
]
