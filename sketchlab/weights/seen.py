"""Which classes of a data set pretrained weights may know already: those that ImageNet has under the same word."""

from __future__ import annotations

import re

from torchvision.models import ResNet18_Weights

_LABELLED = re.compile(r"(^|_)in(1k|12k|21k|22k)(_|$)")  # in timm's tags: trained on labels of ImageNet
MANY = 12  # classes named in a line


def seen(classes: list[str]) -> dict[str, list[str]]:
    """Class → the classes of ImageNet's 1,000 that are named so, or whose last words are it: cat, Egyptian cat."""
    names = {_plain(name): name for name in ResNet18_Weights.IMAGENET1K_V1.meta["categories"]}
    found = {own: [name for key, name in names.items() if f" {key}".endswith(f" {_plain(own)}")] for own in classes}
    return {own: matches for own, matches in found.items() if matches}


def line(trained_on: str, classes: list[str]) -> str:
    """What to say of weights of these labels (torchvision's or timm's tag: augreg_in21k_ft_in1k) and these classes."""
    if not _LABELLED.search(trained_on):
        return (
            f"Seen in pretraining: not known. The weights ({trained_on}) were trained without ImageNet's labels, and "
            "there is no list of what their images show: any class may be among them, so none is called new."
        )
    found = seen(classes)
    named = [f"{own} ({', '.join(names[:2])})" for own, names in list(found.items())[:MANY]]
    more = f" and {len(found) - MANY} more" if len(found) > MANY else ""
    wider = " They were trained on more labels than these, too." if re.search(r"in(12|21|22)k", trained_on) else ""
    return (
        f"Seen in pretraining: {len(found)} of {len(classes)} classes are named by labels of ImageNet's 1,000, which "
        f"the weights ({trained_on}) were trained on{': ' + ', '.join(named) + more if found else ''}. Words alone are "
        f"compared: one word can mean two things, and a class can have another name there.{wider}"
    )


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]+", " ", name).strip().lower()
