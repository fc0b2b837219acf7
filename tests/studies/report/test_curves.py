"""Names of lines in a figure."""

from __future__ import annotations

import pytest

matplotlib = pytest.importorskip("matplotlib", reason="matplotlib is not installed (extra 'studies')")


@pytest.mark.parametrize(("lines", "below"), [(1, False), (5, False), (6, True), (9, True)])
def test_many_names_stand_below_the_lines(lines: int, below: bool):
    from matplotlib.figure import Figure

    from recmind.studies.report.curves import legend

    sheet = Figure(figsize=(4.8, 3.3), layout="constrained")
    axis = sheet.subplots()
    for number in range(lines):
        axis.plot([0, 1], [0, number], label=f"model {number}")
    legend(axis)
    sheet.draw_without_rendering()
    names = axis.get_legend()
    assert names is not None and len(names.get_texts()) == lines
    box, plot = names.get_window_extent(), axis.get_window_extent()
    assert (box.y1 < plot.y0) == below
    assert box.y0 >= 0, "cut off"


@pytest.mark.parametrize("letters", [5, 17, 30, 60])
def test_long_names_below_leave_the_figure_its_width(letters: int):
    from matplotlib.figure import Figure

    from recmind.studies.report.curves import legend

    with matplotlib.rc_context({"font.size": 7.5, "legend.fontsize": 7.5}):
        sheet = Figure(figsize=(4.8, 5.0), layout="constrained")
        axis = sheet.subplots()
        for number in range(9):
            axis.plot([0, 1], [0, number], label=f"{number}".ljust(letters, "n"))
        legend(axis)
        sheet.draw_without_rendering()
    assert axis.get_window_extent().width > 0.6 * sheet.bbox.width


def test_without_lines_there_are_no_names():
    from matplotlib.figure import Figure

    from recmind.studies.report.curves import legend

    axis = Figure().subplots()
    legend(axis)
    assert axis.get_legend() is None
