"""One bundle of a recipe: its model assembled, exported, proved, probed and written."""
