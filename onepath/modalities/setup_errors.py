"""The ways in which a plug-in cannot be set up."""

from __future__ import annotations

from collections.abc import Sequence

from onepath.contract.errors import OnepathError
from onepath.contract.tensors import TensorSpec


class SettingsError(OnepathError):
    """Settings or limits that a modality's plug-in does not accept; `problems` lists every one as `(path, problem)`."""

    problems: tuple[tuple[str, str], ...]

    def __init__(self, modality: str, kind: str, problems: Sequence[tuple[str, str]]) -> None:
        lines = "\n".join(f"  {path}: {problem}" for path, problem in problems)
        super().__init__(
            f"the modality {modality!r} of kind {kind!r} cannot be set up; correct these:\n{lines}",
            modality=modality,
            kind=kind,
            problems=tuple(problems),
        )


class TensorMismatchError(OnepathError):
    """A processor that makes another array than the manifest says."""

    def __init__(self, modality: str, *, made: TensorSpec, declared: TensorSpec) -> None:
        super().__init__(
            f"the processor of {modality!r} makes {made.dtype} {list(made.shape)} named {made.name!r}, and the "
            f"manifest says {declared.dtype} {list(declared.shape)} named {declared.name!r}; install the "
            "plug-in's version that built the bundle, or build the bundle again",
            modality=modality,
            made=made,
            declared=declared,
        )
