"""Which of a graph's servers can load an engine: TensorRT loads what its own version built, and nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import takewhile

from onepath.contract.errors import OnepathError, UnsupportedModuleError
from onepath.export.targets.profiles import TargetProfile, known_releases, known_targets, targets_from_names

OLDEST_TENSORRT = (10, 12)
"""The first version of TensorRT that engines are built with."""
_CONTAINER = "nvcr.io/nvidia/tensorrt:{release}-py3"


class EngineReleaseError(OnepathError):
    """An engine that none of the servers it is meant for could load; `loads` lists the releases that could."""

    tensorrt: str
    loads: tuple[str, ...]

    def __init__(self, version: str, targets: Sequence[TargetProfile], *, loads: Sequence[str]) -> None:
        told = " and ".join(_has(target) for target in targets)
        newest = max((str(target.release) for target in targets if builds_engines(target)), default=_first_release())
        where = f"TensorRT {version} is that of {_listed(loads)}" if loads else f"{version} is that of no known release"
        super().__init__(
            f"no server that the engine is meant for would load what TensorRT {version} builds: {told}; build it in "
            f"{_CONTAINER.format(release=newest)}, or say with --release which Triton will serve it: {where}",
            tensorrt=version,
            loads=tuple(loads),
        )


def engine_targets(names: Sequence[str], release: str | None = None) -> tuple[TargetProfile, ...]:
    """Return the releases of Triton that an engine is meant for: the one that is given, or those among targets.

    Args:
        names: the targets that the graph was checked against.
        release: of Triton, `YY.MM`, where it is said which one will serve the engine.

    Raises:
        UnsupportedModuleError: there is no profile of one of them, or all of them have a TensorRT that is too old.

    >>> [target.name for target in engine_targets(["embedded", "triton-25.08"])]
    ['triton-25.08']
    """
    given = names if release is None else [f"triton-{release}"]
    _check_known(given)
    targets = tuple(target for target in targets_from_names(given) if target.release)
    if targets and not any(builds_engines(target) for target in targets):
        told = " and ".join(_has(target) for target in targets)
        raise UnsupportedModuleError(
            "TensorRT engines",
            f"{told}, and engines are built with {_text(OLDEST_TENSORRT)} or newer",
            f"say with --release which Triton will serve it, of {_first_release()} or newer, or serve the ONNX graph",
        )
    return targets


def builds_engines(target: TargetProfile) -> bool:
    """Return whether a release's TensorRT is new enough, by the newest release up to it of which it is documented."""
    version = target.tensorrt or _around(target)[0]
    return version is not None and _parts(version)[:2] >= OLDEST_TENSORRT


def check_version(version: str, targets: Sequence[TargetProfile]) -> tuple[str, ...]:
    """Return what to tell of the releases that cannot load an engine, or of which that is not known.

    Args:
        version: of the TensorRT that builds it.
        targets: the releases that it is meant for.

    Raises:
        EngineReleaseError: every one of them has another version, by its profile or by those of the releases around it.
    """
    if not targets:
        return (f"the graph was checked for no Triton of NVIDIA's, and only one with TensorRT {version} loads this",)
    if not any(_may_be(version, target) for target in targets):
        loads = [str(target.release) for target in known_releases() if _is(version, target)]
        raise EngineReleaseError(version, targets, loads=loads)
    return tuple(_told(version, target) for target in targets if not _is(version, target))


def _told(version: str, target: TargetProfile) -> str:
    graph = "deploy the ONNX graph there, with --engine never"
    if not builds_engines(target):
        return f"{_has(target)}, for which no engine is built: {graph}"
    container = _CONTAINER.format(release=target.release)
    if _may_be(version, target):
        only = f"it loads this engine only if it is {version}"
        return f"it is not documented which TensorRT {target.name} has; {only}: build it in {container}, or {graph}"
    return f"{_has(target)} and does not load this engine: build one in {container}, or {graph}"


def _has(target: TargetProfile) -> str:
    older, newer = _around(target)
    since = f" not older than {older}" if older else ""
    until = f" and not newer than {newer}" if newer else ""
    return f"{target.name} has {target.tensorrt or f'an undocumented TensorRT{since}{until}'}"


def _check_known(names: Sequence[str]) -> None:
    unknown = [name for name in names if name not in known_targets()]
    if unknown:
        raise UnsupportedModuleError(
            "TensorRT engines",
            f"it is not known which TensorRT {' and '.join(unknown)} has: there is no profile of this name",
            f"say with --release which Triton will serve it, {_first_release()} to {known_releases()[-1].release}, or "
            "serve the ONNX graph",
        )


def _is(version: str, target: TargetProfile) -> bool:
    """Return whether a release has a version, as far as both are told: some profiles do not know the last digits."""
    if not target.tensorrt:
        return False
    pairs = zip(_parts(version), _parts(target.tensorrt), strict=False)
    return all(one == other for one, other in pairs)


def _may_be(version: str, target: TargetProfile) -> bool:
    """Return whether a release may have a version: if its own is not documented, one between its neighbours'."""
    if target.tensorrt:
        return _is(version, target)
    older, newer = _around(target)
    return _in_order(older, version) and _in_order(version, newer)


def _around(target: TargetProfile) -> tuple[str | None, str | None]:
    """Return the nearest versions that are documented of the releases before and after one: they never go back."""
    known = {each.name: each.tensorrt for each in known_releases() if each.tensorrt}
    older = [version for name, version in known.items() if name < target.name]
    newer = [version for name, version in known.items() if name > target.name]
    return older[-1] if older else None, newer[0] if newer else None


def _in_order(first: str | None, second: str | None) -> bool:
    """Return whether a version is not newer than another, as far as both are told.

    >>> _in_order("10.14.1.48", "10.14"), _in_order("10.14.1", "10.13.3"), _in_order(None, "10.14")
    (True, False, True)
    """
    if first is None or second is None:
        return True
    told = min(len(_parts(first)), len(_parts(second)))
    return _parts(first)[:told] <= _parts(second)[:told]


def _first_release() -> str:
    return next(str(target.release) for target in known_releases() if builds_engines(target))


def _parts(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in takewhile(str.isdigit, version.split(".")))


def _text(parts: Iterable[int]) -> str:
    return ".".join(map(str, parts))


def _listed(names: Sequence[str]) -> str:
    """Return names for a person.

    >>> _listed(["25.11", "25.12", "26.01"])
    '25.11, 25.12 and 26.01'
    """
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last
