"""Tables as files: what a spreadsheet would run is escaped, and nothing else is."""

import csv
import io

from sketchlab.report import tables


def test_cells_that_a_spreadsheet_would_run_are_escaped_in_csv():
    text = tables.as_csv(["class", "gain"], [["=1+1", "-0.25"], ["@sum", "+3"], ["a=b", "−0.1"]])
    assert list(csv.reader(io.StringIO(text))) == [
        ["class", "gain"],
        ["'=1+1", "-0.25"],
        ["'@sum", "+3"],
        ["a=b", "−0.1"],
    ]
