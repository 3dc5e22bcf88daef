"""Hydra accepts sweepers of the namespace package hydra_plugins alone, by the name they have here."""

from sketchlab.sweeps import grid as sweep
from sketchlab.sweeps import search


class Grid(sweep.Grid):
    """conf/hydra/sweeper/grid.yaml"""


class Search(search.Search):
    """conf/hydra/sweeper/search.yaml"""
