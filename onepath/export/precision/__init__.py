"""Graphs in other precisions than float32: made, gated on held-out rows, timed, and chosen only where they pay.

The entry is `onepath.export.precision.variants.precision_variants`. Nothing is imported here: the recipe's table of
tolerances needs the gates without the rest.
"""
