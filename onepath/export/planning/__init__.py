"""What a recipe will do, found out without training or writing anything."""

from onepath.export.planning.plan import RecipePlan, plan_from_file

__all__ = ["RecipePlan", "plan_from_file"]
