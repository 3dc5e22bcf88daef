"""How long the page waits for an answer: questions over HTTP to a server that runs, one after another.

    python -m sketchlab.app RUN &
    python scripts/time_page.py http://127.0.0.1:8004 n=500

Drawings are the built-in shapes as raw strokes; the wait holds sending, simplifying, drawing, the network and reading
the answer. Prints median, 95th percentile and the longest for every run that the page has.
"""

from __future__ import annotations

import http.client
import json
import sys
from time import perf_counter
from urllib.parse import urlsplit

import numpy as np

from sketchlab.data.sets import shapes

WARM_UP = 20


def main(address: str, n: int) -> None:
    server = http.client.HTTPConnection(urlsplit(address).netloc, timeout=60)
    server.request("GET", "/runs")
    runs = json.loads(server.getresponse().read())["runs"]
    for number, run in enumerate(runs):
        waits_ms = [asked(server, number, i) for i in range(WARM_UP + n)][WARM_UP:]
        median, late, longest = np.percentile(waits_ms, [50, 95, 100])
        name = f"{run['model']}-{run['data']}/{run['id']}"
        print(
            f"{name}: median {median:.1f} ms, 95% within {late:.1f} ms, longest {longest:.1f} ms (n = {n})", flush=True
        )


def asked(server: http.client.HTTPConnection, run: int, number: int) -> float:
    """Milliseconds for one drawing."""
    name = shapes.CLASSES[number % len(shapes.CLASSES)]
    raw = [
        [[x * 1.1 + 3.3 for x in xs], [y * 1.1 for y in ys], [0] * len(xs)] for xs, ys in shapes.drawing(name, number)
    ]
    body, start = json.dumps({"run": run, "drawing": raw}), perf_counter()
    server.request("POST", "/judge", body, {"Content-Type": "application/json"})
    reply = server.getresponse()
    said = reply.read()
    if reply.status != 200:
        sys.exit(f"{reply.status}: {said.decode()}")
    return (perf_counter() - start) * 1000


if __name__ == "__main__":
    words = {key: value for key, _, value in (word.partition("=") for word in sys.argv[2:])}
    main(sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8004", int(words.get("n", 500)))
