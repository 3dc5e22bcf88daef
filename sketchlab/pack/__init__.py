"""python -m sketchlab.pack RUN: one file that open_run(FILE) and python -m sketchlab.report FILE read elsewhere."""
