"""The table of angles and sizes on the page of a run."""

import pandas as pd

from sketchlab.report.read import read
from sketchlab.report.run import pose

COLUMNS = ["angle_error_deg", "angle_error_deg_of_a_constant", "size_error", "size_error_of_a_constant"]


def test_every_class_stands_beside_the_constant(run_folder):
    folder = run_folder("classifier")
    rows = [["NA", 3, 2.5, 5.125, 0.03, 0.08], ["b", 0, *[float("nan")] * 4]]
    pd.DataFrame(rows, columns=["class", "n", *COLUMNS]).to_csv(folder / "pose_test.csv", index=False)
    found = pose.pose(read(folder))
    assert ">NA<" in found and "5.125" in found and "–" in found and ">nan<" not in found


def test_no_section_without_the_head(run_folder):
    assert pose.pose(read(run_folder("classifier"))) == ""
