"""Print a report: tables for the terminal, and one row of a Markdown table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from rich.table import Table

from mova.eval.report import DIGITS, DIRECTIONS, Report

METRICS = ("R@1", "R@5", "R@10", "R@50", "MdR", "MnR", "mAP")
_MARKDOWN_METRICS = ("R@1", "R@5", "R@10", "MdR", "MnR")
_MOMENT_COLUMNS = {
    "R1@0.5": ("R1", "0.5"),
    "R1@0.7": ("R1", "0.7"),
    "mAP@0.5": ("mAP", "0.5"),
    "mAP@0.75": ("mAP", "0.75"),
    "mAP": ("mAP", "average"),
}
"""Column -> where its figure is in a row of `Report.moments`."""
_LABELS = {"told or untold frame, AUC": "described or other frame, AUC"}
"""Key of a measure in JSON -> its label in tables; others are printed as they are."""


def measure_label(key: str) -> str:
    """Return the label of a measure in tables.

    Example:
        >>> measure_label("R@1"), measure_label("told or untold frame, AUC")
        ('R@1', 'described or other frame, AUC')
    """
    return _LABELS.get(key, key)


def render_tables(report: Report, name: str) -> Iterator[str | Table]:
    """Yield a report for the terminal: a title, tables and notes, then its Markdown row."""
    yield _title(report)
    if report.directions:
        yield _rank_table(report)
        for label, value in report.other_arithmetic.items():
            yield f"{label}: {value:.{DIGITS}f}"
        for line in report.legacy.get("differs", []):
            yield f"legacy arithmetic, {line}"
    if report.moments or report.highlights:
        yield _moment_table(report)
        yield f"{report.ties} of {report.head.queries} queries have tied scores; these keep the order of the file"
    if report.groups:
        yield _group_table(report)
    yield render_markdown(report, name)


def render_markdown(report: Report, name: str) -> str:
    """Return a row of a Markdown table: name, protocol, fingerprint, then the figures.

    Retrieval has R@1, R@5, R@10, MdR and MnR of both directions. Other tasks differ in their groups and metrics, so
    each figure is preceded by its name.
    """
    cells = [name, report.head.protocol, report.head.fingerprint]
    task = "retrieval" if report.head.evaluated is None else report.head.evaluated.task
    if report.directions and task == "retrieval":
        cells += [f"{report.directions[way].figures[m]:.1f}" for way in DIRECTIONS for m in _MARKDOWN_METRICS]
        return f"| {' | '.join(cells)} |"
    if report.directions:
        cells.append(f"t2v mAP {report.directions['t2v'].figures['mAP']:.1f}")
    for group_name, group in report.groups.items():
        prefix = "" if group_name in ("all", "moments") else f"{group_name} "
        cells += [f"{prefix}{metric} {value:.1f}" for metric, value in group.figures.items()]
    return f"| {' | '.join(cells)} |"


def _title(report: Report) -> str:
    head = report.head
    title = f"{head.protocol}: {head.settings['data']}"
    if report.directions:
        title += f", {head.queries} texts by {head.candidates} videos"
    title += f", fingerprint {head.fingerprint}"
    if head.evaluated is not None:
        title += f", {head.evaluated.name}, split {head.settings['split']}"
    if "form" in head.settings:
        title += f", form {head.settings['form']}"
    return title


def _rank_table(report: Report) -> Table:
    metrics = [metric for metric in METRICS if metric in report.directions["t2v"].figures]
    table = _table(("row", *metrics, "tied"), left=("row",))

    def add(label: str, figures: Mapping[str, float], tied: str = "") -> None:
        cells = (f"{figures[m]:.{DIGITS}f}" if m in figures else "" for m in metrics)
        table.add_row(label, *cells, tied)

    for way, group in report.directions.items():
        add(way, group.figures, str(group.ties))
        for case, label in enumerate(("best order of ties", "worst order of ties") if group.bounds else ()):
            add(f"  {label}", {metric: pair[case] for metric, pair in group.bounds.items()})
    for label, figures in report.conventions.items():
        add(f"v2t, {label}", figures)
    for label, ways in report.transductive.items():
        for way in DIRECTIONS:
            if way in ways:
                add(f"{way}, transductive: {label}", ways[way])
    for label, ways in report.legacy.items():
        for way in DIRECTIONS:
            if label != "differs" and way in ways:
                add(f"{way}, legacy: {label}", ways[way])
    return table


def _moment_table(report: Report) -> Table:
    table = _table(("part", *_MOMENT_COLUMNS, "HIT@1"), left=("part",))
    for length, rows in report.moments.items():
        figures = (rows[kind][key] for kind, key in _MOMENT_COLUMNS.values())
        table.add_row(f"moments, {length}", *(f"{value:.{DIGITS}f}" for value in figures), "")
    for grade, row in report.highlights.items():
        cells = (f"{row['mAP']:.{DIGITS}f}", f"{row['Hit1']:.{DIGITS}f}")
        table.add_row(f"highlights, {grade}", *[""] * (len(_MOMENT_COLUMNS) - 1), *cells)
    return table


def _group_table(report: Report) -> Table:
    """Build a table with one row per group and metric; counts are in the first row of a group."""
    table = _table(("group", "metric", "value", "95 % interval", "counts"), left=("group", "metric", "counts"))
    for name, group in report.groups.items():
        counts = ", ".join(f"{number} {what}" for what, number in group.counts.items())
        for metric, value in group.figures.items():
            interval = group.intervals.get(metric)
            bounds = "" if interval is None else f"[{interval.low:.{DIGITS}f}, {interval.high:.{DIGITS}f}]"
            table.add_row(name, metric, f"{value:.{DIGITS}f}", bounds, counts)
            counts = ""
    return table


def _table(columns: Sequence[str], left: Sequence[str]) -> Table:
    table = Table(header_style="bold")
    for column in columns:
        table.add_column(column, justify="left" if column in left else "right")
    return table
