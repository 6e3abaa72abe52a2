"""What the checks of a recipe look at: its sections, before it is known that they hold together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from onepath.export.recipe.bundles import BundleRecipe
from onepath.export.recipe.merges import MergeRecipe, ParentRecipe
from onepath.export.recipe.modalities import ModalityRecipe


class RecipeParts(Protocol):
    """The sections of a `Recipe`; see there."""

    @property
    def task(self) -> str:
        """What the models answer."""

    @property
    def labels(self) -> tuple[str, ...]:
        """One per class."""

    @property
    def code(self) -> str | None:
        """The training code's file."""

    @property
    def rows(self) -> str | None:
        """The file of held-out rows."""

    @property
    def modalities(self) -> Mapping[str, ModalityRecipe]:
        """Name to modality."""

    @property
    def parents(self) -> Mapping[str, ParentRecipe]:
        """Name to parent."""

    @property
    def merges(self) -> Mapping[str, MergeRecipe]:
        """Name to merge."""

    @property
    def bundles(self) -> Mapping[str, BundleRecipe]:
        """Name to bundle."""

    @property
    def models(self) -> tuple[str, ...]:
        """The names of parents and merges."""
