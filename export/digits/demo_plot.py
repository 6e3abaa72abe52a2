"""The demo's picture: accuracy, latency and throughput of every presence pattern, side by side."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from served_accuracy import Accuracies
from served_models import MERGED, MODELS
from served_speed import CLIENTS, Speed

_COLOURS = {
    "digits-image": "#b3b3b3",
    "digits-audio": "#8c8c8c",
    "digits-text": "#595959",
    "digits": "#c1272d",
    "digits-stack": "#0072b2",
    "digits-weave": "#56b4e9",
}
_MARKERS = {"digits-image": "s", "digits-audio": "^", "digits-text": "v", "digits": "o"}
_BAR = _COLOURS[MERGED.name]


def draw(path: Path, accuracies: Accuracies, speeds: Mapping[str, Speed], *, rows: int) -> None:
    """Write the picture as PNG.

    Args:
        path: the file.
        accuracies: what `served_accuracy.accuracies` returned.
        speeds: what `served_speed.speeds` returned.
        rows: how many test rows the accuracies are of.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with mpl.rc_context({"font.size": 11, "axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(15, 5.6), layout="constrained")
        FigureCanvasAgg(figure)
        left, middle, right = figure.subplots(1, 3, sharey=True, width_ratios=(2, 1, 1))
        _draw_accuracy(left, accuracies, rows)
        _draw_bars(middle, {name: speed.latency_p50_ms for name, speed in speeds.items()}, "{:.1f}")
        middle.set(title="Latency of one row (merged)", xlabel="median, milliseconds")
        _draw_bars(right, {name: speed.rows_per_s for name, speed in speeds.items()}, "{:.0f}")
        right.set(title=f"Throughput, {CLIENTS} clients (merged)", xlabel="rows per second")
        figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=len(MODELS), frameon=False)
        figure.savefig(path, dpi=120)


def _draw_accuracy(axes: Any, accuracies: Accuracies, rows: int) -> None:  # axes: matplotlib has no types here
    names = list(accuracies)
    for position, model in enumerate(MODELS):
        offset = (position - (len(MODELS) - 1) / 2) * 0.11
        cells = [(y + offset, 100 * row[model.name]) for y, row in enumerate(accuracies.values()) if model.name in row]
        places, percents = zip(*cells, strict=True)
        marker, colour = _MARKERS.get(model.name, "D"), _COLOURS[model.name]
        axes.plot(percents, places, marker, color=colour, label=model.title, markersize=8)
    for edge in range(len(names) - 1):
        axes.axhline(edge + 0.5, color="#e5e5e5", linewidth=1, zorder=0)
    axes.set(title=f"Accuracy on {rows} held-out rows, through the server", xlabel="rows answered correctly, %")
    axes.set_yticks(range(len(names)), [name.replace("+", " + ") for name in names])
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlim(None, 100.5)
    axes.grid(axis="x", color="#eeeeee")
    axes.set_axisbelow(True)


def _draw_bars(axes: Any, values: Mapping[str, float], form: str) -> None:  # axes: matplotlib has no types here
    bars = axes.barh(range(len(values)), list(values.values()), color=_BAR, alpha=0.85, height=0.6)
    axes.bar_label(bars, [form.format(value) for value in values.values()], padding=4)
    axes.set_xlim(0, max(values.values()) * 1.18)
    axes.tick_params(axis="y", length=0)
