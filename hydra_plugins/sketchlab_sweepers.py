"""Hydra accepts sweepers of the namespace package hydra_plugins alone, by the name they have here."""

from sketchlab import search, sweep


class Grid(sweep.Grid):
    """conf/hydra/sweeper/grid.yaml"""


class Search(search.Search):
    """conf/hydra/sweeper/search.yaml"""
