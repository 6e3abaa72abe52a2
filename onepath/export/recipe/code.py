"""Running the Python files beside a recipe: its training code and the functions that build its parents."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TypeVar

from onepath.contract.errors import OnepathError, RecipeError

_T = TypeVar("_T")


@contextmanager
def folder_on_path(folder: Path) -> Iterator[None]:
    """Let modules beside the code be imported, and forget them after, so that another recipe's are not mistaken."""
    entry, before = folder.resolve(), set(sys.modules)
    sys.path.insert(0, str(entry))
    try:
        yield
    finally:
        sys.path.remove(str(entry))
        for name in set(sys.modules) - before:
            if name.partition(".")[0] not in before and _lies_in(sys.modules[name], entry):
                del sys.modules[name]


def _lies_in(module: ModuleType, folder: Path) -> bool:
    """Return whether a module is the folder's own: an environment may lie in it too, whose modules stay."""
    file = Path(getattr(module, "__file__", None) or "/")
    environments = [Path(entry) for entry in sys.path if entry and folder in Path(entry).parents]
    return file.is_relative_to(folder) and not any(file.is_relative_to(other) for other in environments)


def module_from_file(path: Path) -> ModuleType:
    """Return the module of a Python file, run once as long as `folder_on_path` lasts.

    It can be imported by its file name too, unless another module has that name, so that a class of it is one class.
    """
    name = f"onepath_recipe_{path.parent.resolve().name}_{path.stem}"
    if name in sys.modules and sys.modules[name].__file__ == str(path.resolve()):
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path.resolve())
    if spec is None or spec.loader is None:
        raise RecipeError(str(path), [("code", "is not a Python file")])
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    sys.modules.setdefault(path.stem, module)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        _forget(module)
        raise
    return module


def _forget(module: ModuleType) -> None:
    """Take a module that did not run to its end out of those that are known: half of it is not it."""
    for name in [name for name, known in sys.modules.items() if known is module]:
        del sys.modules[name]


def run_code(run: Callable[[], _T], *, source: str, place: str) -> _T:
    """Return what a function of the recipe's own code returns.

    Args:
        run: calls it.
        source: the file, for the error.
        place: what is run, such as `train`.

    Raises:
        RecipeError: it raised an error that is not onepath's own, or wanted to end the process.
    """
    try:
        return run()
    except OnepathError:
        raise
    except (Exception, SystemExit) as error:
        problem = f"raised {type(error).__name__}: {error}; run again with --debug to see where"
        raise RecipeError(source, [(place, problem)]) from error
