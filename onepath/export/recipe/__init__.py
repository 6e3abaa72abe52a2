"""The recipe: one YAML file that says what to build or train, how to merge it, and which bundles to make of it."""

from onepath.export.recipe.document import Recipe
from onepath.export.recipe.modalities import ModalityRecipe
from onepath.export.recipe.reading import recipe_from_file

__all__ = ["ModalityRecipe", "Recipe", "recipe_from_file"]
