"""Photos searched by the names of their classes, beside the search by sketches, in CLIP's space (weights/clip_text)."""

from __future__ import annotations

from typing import Any

import pandas as pd
from torch import Tensor

from sketchlab.engine.protocols import Pairs
from sketchlab.metrics import retrieval as metrics
from sketchlab.metrics.retrieval import Score


def search(
    text: Tensor, sketches: Tensor, photos: Tensor, split: Pairs, trained: Score, names: list[str]
) -> dict[str, Any]:
    """text (K, E), sketches (n, E), photos (G, E), all of length 1; trained: class_mAP of the run's own search.

    Gives text_class_mAP, a query for each class that the photos show; clip_class_mAP, of the sketches before training;
    and by_text, a table: class, photos, average precision by text, by sketch before training and after (means over the
    class's sketches).
    """
    labels, of_photos = (getattr(split, domain).labels.to(text.device) for domain in ("sketch", "photo"))
    there = of_photos.unique()
    only = ["class_mAP"]
    by_name = metrics.evaluate(text[there], photos, classes=(there, of_photos), names=only)["class_mAP"]
    before = metrics.evaluate(sketches, photos, classes=(labels, of_photos), names=only)["class_mAP"]
    numbers = labels.cpu()

    def mean(score: Score, number: int) -> float:
        return score.per_query[numbers == number].mean().item() if (numbers == number).any() else float("nan")

    rows = [
        {
            "class": names[number],
            "photos": int((of_photos == number).sum()),
            "text": round(by_name.per_query[place].item(), 6),
            "sketch_before": round(mean(before, number), 6),
            "sketch": round(mean(trained, number), 6),
        }
        for place, number in enumerate(there.tolist())
    ]
    return {"text_class_mAP": by_name.value, "clip_class_mAP": before.value, "by_text": pd.DataFrame(rows)}
