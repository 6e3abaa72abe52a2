"""The picture of a robustness report: a row for each presence pattern, numbers in coloured cells."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onepath.contract.errors import MissingExtraError
from onepath.contract.robustness import Estimate, RobustnessReport, estimate_text, number_text

# Inches: what is placed by hand looks the same with one pattern and with sixty-four.
_ROW, _DOT, _WIDE, _NARROW, _GAP, _MARGIN, _LINE = 0.25, 0.27, 1.8, 0.95, 0.18, 0.15, 0.17
_LETTER = 0.085  # of a name that stands upright
_LEAST_WIDTH = 6.6  # of the title
_INK, _PALE = "#222222", "#d9d9d9"
_DPI = 110
_LEAST_SPAN = 0.05  # of the colours of gains: smaller ones stay pale
_DARK = 0.21  # relative luminance under which white has more contrast than ink


@dataclass(frozen=True)
class _Panel:
    """Columns that share their colours.

    Attributes:
        title: above them.
        columns: the head of each.
        cells: rows of estimates; None where there is nothing to measure.
        is_gain: signed, with 0 in the middle of the colours.
        is_share: written in percent.
    """

    title: str
    columns: Sequence[str]
    cells: Sequence[Sequence[Estimate | None]]
    is_gain: bool
    is_share: bool

    @property
    def width(self) -> float:
        longest = max(len(line) for head in self.columns for line in head.splitlines() or [""])
        return len(self.columns) * (max(_NARROW, _LETTER * (longest + 1)) if self.is_gain else _WIDE)

    @property
    def values(self) -> NDArray[np.float64]:
        return np.array([[np.nan if cell is None else cell.value for cell in row] for row in self.cells])


def heat_map(report: RobustnessReport, *, name: str) -> bytes:
    """Return a picture of a report as PNG; equal arguments give equal bytes with the same release of matplotlib.

    Args:
        report: what is drawn.
        name: the bundle's, for the title.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    try:
        import matplotlib as mpl
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("matplotlib", "export", purpose="drawing the robustness report") from error
    panels = _panels(report)
    with mpl.rc_context({"font.size": 9, "font.family": "DejaVu Sans"}):
        figure = Figure()
        FigureCanvasAgg(figure)
        dots, *places = _placed_axes(figure, report, panels, title=_title(report, name))
        _draw_dots(dots, report)
        for axes, panel in zip(places, panels, strict=True):
            _draw_panel(axes, panel, mpl.colormaps["RdBu" if panel.is_gain else "cividis"])
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=_DPI, metadata={"Software": None})
    return buffer.getvalue()


def _title(report: RobustnessReport, name: str) -> list[str]:
    rows = f" of {report.rows_available}" if report.rows < report.rows_available else ""
    sample = f", a sample of {report.patterns_accepted}" if report.is_sampled else ""
    count = f"{len(report.patterns)} presence pattern{'s' if len(report.patterns) > 1 else ''}"
    return [
        f"{name}: how good it is when modalities are missing",
        f"{report.rows}{rows} held-out rows; {count}{sample}",
        "in brackets: the 95 % interval; bold: a gain whose 95 % interval excludes 0",
    ]


def _panels(report: RobustnessReport) -> list[_Panel]:
    is_share = report.is_share(report.metric)
    unit, points = ("%", "points") if is_share else ("cosine", "cosine")
    figures = [[result.metric] for result in report.patterns]
    head = f"{report.metric.replace('_', ' ')}, {unit}"
    panels = [_Panel(head, [""], figures, is_gain=False, is_share=is_share)]
    if report.encoders:
        gains = [[result.gain_over_encoder[name] for name in report.encoders] for result in report.patterns]
        heads = [f"{name}\n{number_text(each.value, is_share=is_share)}" for name, each in report.encoders.items()]
        title = f"gain over one\nencoder alone, {points}"
        panels.append(_Panel(title, heads, gains, is_gain=True, is_share=is_share))
    zeros = [[result.zero_filling.gain if result.zero_filling else None] for result in report.patterns]
    if any(cell is not None for (cell,) in zeros):
        title = f"gain over zero-\nfilling, {points}"
        panels.append(_Panel(title, [""], zeros, is_gain=True, is_share=is_share))
    return panels


def _placed_axes(figure: Any, report: RobustnessReport, panels: Sequence[_Panel], *, title: Sequence[str]) -> list[Any]:
    """Return axes for the dots and each panel, from left to right, in a figure made as large as they need."""
    widths = [_DOT * len(report.modalities), *(max(panel.width, 1.25 * _NARROW) for panel in panels)]
    lines = 5 if report.encoders else 3
    head = max(lines * _LINE, _LETTER * max(map(len, report.modalities)) + _LINE) + _LINE
    body = _ROW * len(report.patterns)
    top = _MARGIN + _LINE * len(title)
    width = max(sum(widths) + _GAP * len(panels), _LEAST_WIDTH) + 2 * _MARGIN
    height = top + head + body + _MARGIN
    figure.set_size_inches(width, height)
    for line, text in enumerate(title):
        weight = "bold" if line == 0 else "normal"
        figure.text(_MARGIN / width, 1 - (_MARGIN + _LINE * line) / height, text, va="top", weight=weight)
    lefts = [_MARGIN + sum(widths[:index]) + _GAP * index for index in range(len(widths))]
    return [
        figure.add_axes((left / width, _MARGIN / height, wide / width, body / height))
        for left, wide in zip(lefts, widths, strict=True)
    ]


def _draw_dots(axes: Any, report: RobustnessReport) -> None:  # axes: matplotlib has no types here
    names = list(report.modalities)
    for row, result in enumerate(report.patterns):
        colours = [_INK if name in result.present else _PALE for name in names]
        axes.scatter(range(len(names)), [row] * len(names), s=42, c=colours, linewidths=0)
    axes.set_xlim(-0.5, len(names) - 0.5)
    _frame(axes, names, len(report.patterns))
    axes.tick_params(axis="x", labelrotation=90)


def _draw_panel(axes: Any, panel: _Panel, colours: Any) -> None:  # matplotlib has no types here
    values = panel.values
    low, high = _span(values, is_gain=panel.is_gain)
    axes.imshow(values, cmap=colours, vmin=low, vmax=high, aspect="auto", interpolation="nearest")
    for row, cells in enumerate(panel.cells):
        for column, cell in enumerate(cells):
            if cell is not None:
                behind = colours((cell.value - low) / (high - low))
                axes.text(column, row, **_label(cell, panel, behind), ha="center", va="center", fontsize=8)
    axes.set_title(panel.title, fontsize=9, pad=6)
    _frame(axes, panel.columns, len(panel.cells))


def _span(values: NDArray[np.float64], *, is_gain: bool) -> tuple[float, float]:
    """Return the values that have the first and the last colour."""
    if is_gain:
        most = max(1.2 * float(np.nanmax(np.abs(values))), _LEAST_SPAN)
        return -most, most
    return min(float(values.min()), 1 - _LEAST_SPAN), 1.0


def _label(cell: Estimate, panel: _Panel, behind: Sequence[float]) -> dict[str, str]:
    ink = {"color": "white" if _luminance(behind) < _DARK else _INK}
    if not panel.is_gain:
        return ink | {"s": estimate_text(cell, is_share=panel.is_share)}
    weight = "bold" if cell.low > 0 or cell.high < 0 else "normal"
    return ink | {"s": number_text(cell.value, is_share=panel.is_share, signed=True), "weight": weight}


def _luminance(rgba: Sequence[float]) -> float:
    """Return the relative luminance of an sRGB colour, in 0 to 1."""
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in rgba[:3]]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _frame(axes: Any, heads: Sequence[str], rows: int) -> None:  # axes: matplotlib has no types here
    axes.xaxis.tick_top()
    axes.set_xticks(range(len(heads)), heads)
    axes.set_yticks([])
    axes.tick_params(length=0)
    axes.set_ylim(rows - 0.5, -0.5)
    for spine in axes.spines.values():
        spine.set_visible(False)
    for edge in range(1, rows):
        axes.axhline(edge - 0.5, color="white", linewidth=0.8)
