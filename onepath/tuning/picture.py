"""The picture of a tuning run: latency and throughput of every candidate, the front, the default and the choice."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from onepath.contract.errors import MissingExtraError
from onepath.contract.publication import publish_file
from onepath.tuning.figures import Figures
from onepath.tuning.labels import Label, place_labels
from onepath.tuning.report import Measured, TuningReport

_COLOURS = {"fp32": "#4d4d4d", "int8": "#0072b2", "bf16": "#d55e00", "fp16": "#009e73"}
_CHOSEN, _DEFAULT, _FRONT, _BOUND, _OTHER = "#c1272d", "#000000", "#9a9a9a", "#b8860b", "#b8b8b8"
_BELOW, _ABOVE = 0.8, 1.1
"""Axes begin and end at these multiples of the smallest and the largest value."""
_BOUND_SHOWN = 1.5
"""The bound is drawn if it is not farther to the right than this multiple of the largest latency."""
_FOOTNOTE_WIDTH = 120
"""Characters of a line of the footnote, as many as the narrower picture holds."""

Axes = Any  # matplotlib has no types here
Point = tuple[float, float]


def check_matplotlib() -> None:
    """Check that the picture can be drawn.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    if find_spec("matplotlib") is None:
        raise MissingExtraError("matplotlib", "tune", purpose="drawing the front of latency and throughput")


def draw(path: Path, report: TuningReport) -> None:
    """Write the picture as PNG; its right part is there where several numbers of rows a request were measured.

    Args:
        path: the file.
        report: what was found.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    by_rows, buffer = _by_rows(report), io.BytesIO()
    with mpl.rc_context({"font.size": 10.5, "axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(13.5, 6) if len(by_rows) > 1 else (10, 6), layout="constrained")
        FigureCanvasAgg(figure)
        figure.suptitle(_title(report), fontsize=12.5)
        figure.supxlabel(_footnote(report), fontsize=8.5, color="#6b6b6b")
        if len(by_rows) > 1:
            front, rows = figure.subplots(1, 2, width_ratios=(2.6, 1))
            _draw_rows(rows, by_rows, report)
        else:
            front = figure.subplots()
        _draw_front(front, report)
        figure.savefig(buffer, dpi=120, format="png")
    publish_file(path, buffer.getvalue())


def _draw_front(axes: Axes, report: TuningReport) -> None:
    shown = [
        (each, _point(each.figures, report))
        for each in report.measured
        if each.figures is not None and each.candidate.rows == report.context.load.rows
    ]
    for precision, colour in _COLOURS.items():
        points = [point for each, point in shown if each.candidate.settings.precision == precision]
        _plot(axes, points, "o", color=colour, markersize=8, zorder=3, label=precision)
    ring = {"fillstyle": "none", "linestyle": "none", "zorder": 4}
    default = [point for each, point in shown if each.is_default]
    _plot(axes, default, "D", color=_DEFAULT, markersize=14, label="default", **ring)
    chosen = [point for each, point in shown if each.is_chosen]
    _plot(axes, chosen, "o", color=_CHOSEN, markersize=20, markeredgewidth=2.2, label="chosen", **ring)
    _finish_axes(axes, [point for _, point in shown], report)
    steps = _steps(axes, sorted(point for each, point in shown if each.is_on_front))
    _plot(axes, steps, "-", color=_FRONT, linewidth=1.5, zorder=1, label="front")
    if shown:
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=8, columnspacing=1.4, frameon=False)
    labels = [Label(each.name, *point, bold=each.is_chosen, needed=_is_named(each)) for each, point in shown]
    bound = [(report.goal.latency_ms, edge) for edge in axes.get_ylim()]
    place_labels(axes, labels, points=[point for _, point in shown], lines=[steps, bound])


def _plot(axes: Axes, points: Sequence[Point], form: str, **style: Any) -> None:  # style: matplotlib's
    if points:
        axes.plot(*zip(*points, strict=True), form, **style)


def _steps(axes: Axes, front: Sequence[Point]) -> list[Point]:
    """Return the corners of what throughput each latency allows: from the bottom to the right edge."""
    if not front:
        return []
    heights = [axes.get_ylim()[0], *(height for _, height in front)]
    corners = [
        (place, height) for (place, after), before in zip(front, heights, strict=False) for height in (before, after)
    ]
    return [*corners, (axes.get_xlim()[1], heights[-1])]


def _finish_axes(axes: Axes, points: Sequence[Point], report: TuningReport) -> None:
    bound_ms = report.goal.latency_ms
    latencies, throughputs = ([point[side] for point in points] or [1.0] for side in (0, 1))
    widest = max(latencies)
    if bound_ms <= _BOUND_SHOWN * widest:
        axes.axvline(bound_ms, color=_BOUND, linestyle="--", zorder=0, label=f"bound, {bound_ms:g} ms")
        widest = max(widest, bound_ms)
    axes.set_xlim(_BELOW * min(latencies), _ABOVE * widest)
    axes.set_ylim(_BELOW * min(throughputs), _ABOVE * max(throughputs))
    axes.set(xlabel=f"{report.goal.percentile} latency of a request, milliseconds", ylabel="rows a second")
    axes.grid(color="#eeeeee")
    axes.set_axisbelow(True)


def _draw_rows(axes: Axes, by_rows: Sequence[Measured], report: TuningReport) -> None:
    points = [_point(each.figures, report) for each in by_rows if each.figures is not None]
    names = [str(each.candidate.rows) for each in by_rows]
    colours = [_CHOSEN if each.is_chosen else _OTHER for each in by_rows]
    bars = axes.bar(names, [throughput for _, throughput in points], color=colours, width=0.6)
    percentile = report.goal.percentile
    axes.bar_label(bars, [f"{speed:.0f} rows/s\n{percentile} {latency:.1f} ms" for latency, speed in points], padding=3)
    axes.set_ylim(0, max(throughput for _, throughput in points) * 1.2)
    axes.set(title="the chosen settings", xlabel="rows a request", yticks=[])
    axes.spines.left.set_visible(False)
    axes.tick_params(axis="x", length=0)


def _is_named(each: Measured) -> bool:
    return each.is_chosen or each.is_default or each.is_on_front


def _by_rows(report: TuningReport) -> list[Measured]:
    """Return the chosen settings with each number of rows that they were measured with."""
    if report.chosen is None:
        return []
    settings = report.chosen.candidate.settings
    same = [each for each in report.measured if each.candidate.settings == settings and each.figures is not None]
    return sorted(same, key=lambda each: each.candidate.rows)


def _title(report: TuningReport) -> str:
    load = report.context.load
    rows = f"{load.rows} row{'s' * (load.rows != 1)}"
    clients = f"{load.concurrency} client{'s' * (load.concurrency != 1)}"
    return (
        f"{report.name} on {report.context.machine.cpu}: {clients}, {rows} a request, {load.pattern or 'every pattern'}"
    )


def _footnote(report: TuningReport) -> str:
    failed = sum(each.failure is not None for each in report.measured)
    parts = [
        f"{report.context.machine.cores} cores, shared by the server and the clients",
        "a×b: graph instances × threads of each",
        f"differences below {100 * report.noise:.0f} % are noise",
        *([f"{failed} failed"] if failed else []),
        *([] if report.finished else ["the time was up before everything was measured"]),
    ]
    return textwrap.fill(" · ".join(parts), _FOOTNOTE_WIDTH)


def _point(figures: Figures, report: TuningReport) -> Point:
    return figures.latency_ms(report.goal.percentile), figures.rows_per_s
