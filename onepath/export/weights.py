"""The collapsed weights of a bundle as a state dict that the plain class loads, with `strict=True`."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import BaseModel, Field, ValidationError
from torch import Tensor, nn

from onepath.contract.bundle import Bundle, open_bundle
from onepath.contract.errors import BundleIntegrityError, UnsupportedModuleError
from onepath.contract.nearest import did_you_mean
from onepath.contract.weight_files import weight_metadata
from onepath.merging.encoders.pixels import CastInput, PixelNormalization
from onepath.merging.presets.published_weights import weights_from_file


def state_dict_from_bundle(
    folder: Path, modality: str | None = None, *, part: str = "", takes_raw_pixels: bool = False
) -> OrderedDict[str, Tensor]:
    """Return a bundle's collapsed weights by the keys of the plain class, in its order, on the CPU.

    Shapes are those of the class; precisions too where its floating-point numbers are float32, which the collapse
    rounds to. What a fold adds is there as well: the bias that a layer without one got, and, in the place of a folded
    normalisation of pixels, an empty tensor (see `takes_raw_pixels`). What a fold took away is not: a layer that went
    into its neighbour has no keys. A class with other keys refuses such weights.

    Args:
        folder: the bundle, which is verified as it is opened.
        modality: give the state dict of this modality's encoder; that of the whole model without it.
        part: the path of a module below that, to give the state dict of this module alone, such as `1` in an
            `nn.Sequential` whose first module is in no state dict.
        takes_raw_pixels: leave out the empty tensors. They keep weights that take pixels as they are from being loaded
            into a class that normalises them, which would answer wrongly without a word.

    Raises:
        BundleIntegrityError: the bundle is not what its manifest says.
        UnsupportedModuleError: it has no such modality, or no such part, or `takes_raw_pixels` is not true of it.
    """
    bundle = open_bundle(folder)
    weights = _weights_from_bundle(bundle)
    path = _path_of_module(bundle, modality, part)
    prefix = f"{path}." if path else ""
    names = [name for name in weights.order if name.startswith(prefix)]
    if not names and path not in weights.modules:
        near = did_you_mean(path, weights.modules)
        raise UnsupportedModuleError(
            f"the part {path!r}", f"{folder} has no weights below it{near}", "give the path of a module that it has"
        )
    if takes_raw_pixels:
        _check_takes_raw_pixels(weights, path)
        names = [name for name in names if not weights.is_mark(name)]
    return OrderedDict((name.removeprefix(prefix), weights.tensors[name]) for name in names)


@dataclass(frozen=True)
class _Weights:
    """A file of weights.

    Attributes:
        tensors: by their names in the whole model.
        order: these names, in the order of the model's state dict.
        modules: path to the class and settings of the model's modules, in words.
    """

    tensors: Mapping[str, Tensor]
    order: Sequence[str]
    modules: Mapping[str, str] = field(default_factory=dict)

    def is_mark(self, name: str) -> bool:
        """Return whether a tensor only says that a normalisation was folded away."""
        return self.is_of(name.rpartition(".")[0], CastInput) and self.tensors[name].numel() == 0

    def is_of(self, path: str, kind: type[nn.Module]) -> bool:
        """Return whether a module is of a class."""
        return self.modules.get(path, "").startswith(f"{kind.__name__}(")


class _Said(BaseModel):
    """What the file of weights says of the model; of what else it says, nothing is needed here."""

    order: tuple[str, ...] | None = None
    modules: dict[str, str] = Field(default_factory=dict)


def _weights_from_bundle(bundle: Bundle) -> _Weights:
    """Return what a bundle's file of weights holds; in the order of names where an older onepath kept no other.

    Raises:
        BundleIntegrityError: what it says of its tensors is not true.
    """
    name = bundle.manifest.weights
    tensors = weights_from_file(bundle.path / name)
    try:
        said = _Said.model_validate_json(weight_metadata(bundle.path / name).get("model", "{}"))
    except ValidationError as error:
        problem = f"does not say what its tensors are ({' '.join(str(error).split())[:200]})"
        raise BundleIntegrityError(name, problem, root=str(bundle.path)) from error
    order = sorted(tensors) if said.order is None else said.order
    if sorted(order) != sorted(tensors):
        raise BundleIntegrityError(name, "has an order of other tensors than it holds", root=str(bundle.path))
    return _Weights(tensors, order, said.modules)


def _check_takes_raw_pixels(weights: _Weights, path: str) -> None:
    """Check that no normalisation is left below a path, which has no numbers of its own for a class to miss."""
    below = [name for name in weights.modules if f"{name}.".startswith(f"{path}." if path else "")]
    left = next((name for name in below if weights.is_of(name, PixelNormalization)), None)
    if left is not None:
        raise UnsupportedModuleError(
            "takes_raw_pixels=True",
            f"{left} still normalises pixels",
            "leave it out, for a class that does so too",
        )


def _path_of_module(bundle: Bundle, modality: str | None, part: str) -> str:
    known = bundle.manifest.modality_names
    if modality is not None and modality not in known:
        raise UnsupportedModuleError(
            f"the modality {modality!r}",
            f"{bundle.path} is not of it{did_you_mean(modality, known)}",
            f"give one of {', '.join(known)}",
        )
    return ".".join([*([] if modality is None else ["encoders", modality]), *([part] if part else [])])
