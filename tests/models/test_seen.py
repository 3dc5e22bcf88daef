"""Which classes ImageNet has under the same word."""

from sketchlab.weights.seen import MANY, line, seen


def test_whole_names_and_last_words_alone():
    found = seen(["cat", "fan", "sea", "Hot_dog", "wine-bottle", "horse", "cab"])
    assert {"tiger cat", "Persian cat"} < {*found["cat"]} and "catamaran" not in found["cat"]
    assert found["fan"] == ["electric fan"] and found["wine-bottle"] == ["wine bottle"]
    assert "sea" not in found and "horse" not in found, "sea lion and horse cart are no sea and no horse"
    assert found["cab"] == ["cab"], "and no scab"


def test_the_line_counts_all_and_names_some():
    many = [
        "cat",
        "fan",
        "teddy",
        "tank",
        "tick",
        "hen",
        "goldfish",
        "tench",
        "cock",
        "bulbul",
        "jay",
        "kite",
        "vulture",
    ]
    said = line("augreg_in21k_ft_in1k", [*many, "square"])
    assert f"{len(many)} of {len(many) + 1} classes" in said and " and 1 more" in said and len(many) == MANY + 1
    assert "more labels than these" in said and "more labels" not in line("imagenet_in1k", many)
    for tag in ("lvd142m", "openai", "laion2b", "webli"):
        assert line(tag, many).startswith(f"Seen in pretraining: not known. The weights ({tag})")
    assert line("laion2b_ft_in12k_in1k", ["square"]).startswith("Seen in pretraining: 0 of 1 classes")
