"""YAML as people mean it: `1e-3` is a number, and no key stands twice in a mapping."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from onepath.contract.errors import RecipeError

_EXPONENT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)[eE][-+]?[0-9]+$")


class _Loader(yaml.SafeLoader):
    """PyYAML follows YAML 1.1, where 1e-3 is text and the last of equal keys wins silently."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if (key.tag, key.value) in seen:
                    raise yaml.MarkedYAMLError(problem=f"{key.value!r} stands twice", problem_mark=key.start_mark)
                seen.add((key.tag, key.value))
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _EXPONENT, list("-+.0123456789"))


def yaml_from_file(path: Path) -> Any:  # what the file holds
    """Return what a YAML file holds; numbers are those of YAML 1.2.

    Args:
        path: the file.

    Raises:
        RecipeError: the file cannot be read, is not YAML, or has a key twice in a mapping.
    """
    try:
        return yaml.load(path.read_text(encoding="utf-8"), _Loader)  # the loader is a safe one
    except OSError as error:
        raise RecipeError(
            str(path), [("", f"cannot be read ({error.strerror}); give the path of a YAML file")]
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RecipeError(str(path), [("", f"is not YAML: {' '.join(str(error).split())}")]) from error
