"""The models that a recipe makes before anything is trained: parents built, merges of them made and proved."""

from onepath.export.models.made import MadeModel
from onepath.export.models.merges import models_from_recipe

__all__ = ["MadeModel", "models_from_recipe"]
