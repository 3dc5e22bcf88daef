"""matplotlib, imported although MPLBACKEND may name a backend that is not here: figures are drawn on Agg alone.

A notebook's MPLBACKEND reaches the commands that are started from it, in environments without its package.
"""

from __future__ import annotations

import os
import sys

try:
    import matplotlib
except ValueError:  # nothing but an unknown backend raises it on import
    named = os.environ.pop("MPLBACKEND", "")
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        del sys.modules[name]  # left by the import that failed
    import matplotlib  # noqa: F401

    os.environ["MPLBACKEND"] = named
