"""python -m sketchlab.diff RUN_A RUN_B: settings, code, data, versions and scores of two runs, side by side."""
