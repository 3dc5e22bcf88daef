"""Losses that are off by default, a file each: loss=<choice>; those of SKETCHLAB_EXTRA are found beside them."""
