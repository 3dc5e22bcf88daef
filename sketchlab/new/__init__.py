"""Examples of parts of one's own, each a file that runs as it is; `python -m sketchlab.new` copies them."""
