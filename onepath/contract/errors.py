"""The errors of onepath: each says what failed, why, and what to do, and is named for what the caller can do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class OnepathError(Exception):
    """The base of every error that onepath raises on purpose.

    A child builds its message from data and passes the data on, so that it can be read as attributes and survives
    pickling between processes.
    """

    def __init__(self, message: str, **data: Any) -> None:  # data: whatever the child documents
        super().__init__(message)
        self._data = data
        self.__dict__.update(data)

    def __reduce__(self) -> tuple[Any, ...]:
        """Return what rebuilds the error without calling the child's constructor."""
        return _rebuilt, (type(self), str(self), self._data)


def _rebuilt(kind: type[OnepathError], message: str, data: dict[str, Any]) -> OnepathError:
    error = kind.__new__(kind)
    OnepathError.__init__(error, message, **data)
    return error


class RecipeError(OnepathError):
    """A recipe that cannot be followed; `problems` lists every one as `(path, problem)`."""

    problems: tuple[tuple[str, str], ...]

    def __init__(self, source: str, problems: Sequence[tuple[str, str]]) -> None:
        lines = "\n".join(f"  {path or '(top)'}: {problem}" for path, problem in problems)
        super().__init__(f"{source} is not a valid recipe:\n{lines}", source=source, problems=tuple(problems))


class UnknownPluginError(OnepathError):
    """A plug-in name that is not installed, or is installed twice."""

    def __init__(self, message: str, *, group: str, name: str, known: Sequence[str]) -> None:
        super().__init__(message, group=group, name=name, known=tuple(known))


class MissingExtraError(OnepathError):
    """A package that an optional extra brings is not installed."""

    def __init__(self, package: str, extra: str, *, purpose: str) -> None:
        super().__init__(
            f'{purpose} needs {package}, which is not installed; install it with: pip install "onepath[{extra}]"',
            package=package,
            extra=extra,
        )


class UnsupportedModuleError(OnepathError):
    """A model, module or setting that a merge, a collapse or an export cannot treat exactly."""

    def __init__(self, name: str, reason: str, advice: str) -> None:
        super().__init__(f"cannot use {name}: {reason}; {advice}", name=name, reason=reason)


class ParityError(OnepathError):
    """A proof step whose result is farther from its source than the tolerance chosen beforehand."""

    step: str
    error: float
    tolerance: float
    where: str

    def __init__(self, step: str, *, error: float, tolerance: float, where: str) -> None:
        super().__init__(
            f"{step} changed the result: the largest difference is {error:.3g} and the tolerance {tolerance:.3g} "
            f"({where}); nothing was written. Look at the step's module, or choose another tolerance in the recipe",
            step=step,
            error=error,
            tolerance=tolerance,
            where=where,
        )


class GateError(OnepathError):
    """A bundle that is not as good as its recipe's gates ask; `missed` lists every one as `(gate, finding)`."""

    bundle: str
    missed: tuple[tuple[str, str], ...]

    def __init__(self, bundle: str, missed: Sequence[tuple[str, str]]) -> None:
        lines = "\n".join(f"  gates.{gate}: {finding}" for gate, finding in missed)
        super().__init__(
            f"the bundle {bundle} misses gates of its recipe, and was not written:\n{lines}\n"
            "Train its models for longer or merge them otherwise, or change these gates in the recipe",
            bundle=bundle,
            missed=tuple(missed),
        )


class BundleIntegrityError(OnepathError):
    """A bundle or a deployed repository that is not what its manifest says; `path` names the file."""

    path: str

    def __init__(self, path: str, problem: str, *, root: str = "", advice: str = "build or copy it again") -> None:
        place = f" in {root}" if root else ""
        super().__init__(f"refused: {path}{place} {problem}; {advice}", path=path, problem=problem, root=root)


class PayloadError(OnepathError):
    """A payload that cannot be used; `code` is the machine-readable way in which it failed."""

    code: str = "bad_payload"

    def __init__(self, message: str, **data: Any) -> None:  # data: measured and allowed values
        super().__init__(message, **data)


class RequestError(OnepathError):
    """A request that cannot be sent or was refused by the server: wrong names, row counts or types."""


class DeadlineExceededError(OnepathError):
    """An answer that did not come within the caller's deadline."""

    def __init__(self, address: str, timeout_s: float) -> None:
        super().__init__(
            f"no answer from {address} within {timeout_s:g} s; "
            "raise timeout_s, send fewer rows, or look at the server's load",
            address=address,
            timeout_s=timeout_s,
        )


class ServerUnavailableError(OnepathError):
    """A server that cannot be found, started, reached, or that does not pass its probes."""


class ScoringError(OnepathError):
    """An offline scoring run that cannot start or go on; nothing was published under the output's name."""
