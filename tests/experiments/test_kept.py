"""The kept results: every command composes today, every page is its tables, every sentence has its row."""

from __future__ import annotations

import importlib
import json
import os
import re
import shlex
import shutil
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sketchlab import config, stats
from sketchlab.report.comparison.paired import scores_alone

FOLDER = Path(__file__).parents[2] / "experiments"
RESULTS = FOLDER / "results"
sys.path.append(str(FOLDER))  # scripts: they find one another as python FILE does
import arms  # noqa: E402
import arms_kept  # noqa: E402
import arms_report  # noqa: E402
import arms_table  # noqa: E402
import arms_tests  # noqa: E402

KEPT = sorted(path.name.removesuffix("_pairs.csv") for path in RESULTS.glob("*_pairs.csv"))
NOT_RUN_YET = {"frankenstein_cost"}
VERDICT = re.compile(r"\b(better|worse|outperforms?|beats?|helps?|wins?|no evidence|significant)\b", re.IGNORECASE)


def tables(name: str) -> tuple[list[dict], list[dict]]:
    return arms_table.load(RESULTS / f"{name}.csv"), arms_table.load(RESULTS / f"{name}_pairs.csv")


def experiment(name: str):
    return importlib.import_module(name).EXPERIMENT


def part(text: str, title: str) -> list[str]:
    """Lines below a heading."""
    return text.partition(f"## {title}\n")[2].partition("\n## ")[0].strip().splitlines()


def test_every_experiment_of_arms_has_a_kept_result():
    written = {path.stem for path in FOLDER.glob("*.py") if "EXPERIMENT = Experiment(" in path.read_text()}
    assert set(KEPT) | NOT_RUN_YET == written and not NOT_RUN_YET & set(KEPT)
    page = (FOLDER / "README.md").read_text().partition("## Written, not run yet\n")[2].partition("\n## ")[0]
    assert set(re.findall(r"`python experiments/(\w+)\.py`", page)) == NOT_RUN_YET
    assert all((RESULTS / f"{name}{end}").is_file() for name in KEPT for end in (".csv", ".md", ".png"))


@pytest.mark.parametrize("name", KEPT)
def test_first_and_last_command_compose(name):
    rows, _ = tables(name)
    for row in (rows[0], rows[-1]):
        composes(row["command"], experiment(name))


@pytest.mark.long
@pytest.mark.parametrize("name", KEPT)
def test_every_command_composes(name):
    for row in tables(name)[0]:
        composes(row["command"], experiment(name))


def composes(command: str, found) -> None:
    assert command.startswith("python -m sketchlab.run "), command
    words = [*shlex.split(command)[3:], *found.of_seed(0)]
    assert config.from_overrides(words).choices["model"]


CLASSES = {"chen2019_stem": 10, "chen2019_transfer": 2, "sketchanet_tuberlin": 35, "frankenstein_strokes": 8}


@pytest.mark.realdata
@pytest.mark.skipif("SKETCHLAB_WEIGHTS" not in os.environ, reason="needs SKETCHLAB_WEIGHTS")
@pytest.mark.parametrize("name", [*CLASSES, "das_debnath_retrieval"])
def test_a_command_makes_the_network_that_was_trained(name):
    """By its size; one row of each."""
    for row in {row["trained"]: row for row in tables(name)[0]}.values():
        run = config.from_overrides(shlex.split(row["command"])[3:])
        n_classes = len(getattr(run.data.config, "classes", None) or []) or CLASSES.get(name)
        size = sum(parameter.numel() for parameter in run.model.build(n_classes).parameters())
        assert row["trained"].rpartition(" of ")[2] == f"{size:,}", row["arm"]


def test_every_other_page_or_folder_has_a_command_and_it_composes():
    known = (*KEPT, "README")
    beside = [path for path in RESULTS.iterdir() if path.is_dir() or (path.suffix == ".md" and path.stem not in known)]
    for path in beside:
        text = (path / "command.md" if path.is_dir() else path).read_text().replace("\\\n", " ")
        runs = re.findall(r"python -m sketchlab\.run (.+)", text)
        assert runs or re.search(r"experiments/\w+\.py", text), path.name
        for line in runs:
            words = [word.split(",")[0] if "[" not in word else word for word in shlex.split(line) if word != "-m"]
            assert config.from_overrides([word for word in words if "=…" not in word and word != "…"])


@pytest.mark.parametrize("name", KEPT)
def test_a_command_is_that_of_its_arm(name):
    found = experiment(name)
    declared = {arm.name: arms_table.declared_command(found, arm) for arm in found.arms}
    for row in tables(name)[0]:
        assert row["command"].startswith(declared[row["arm"]]), row["arm"]


@pytest.mark.parametrize("name", KEPT)
def test_a_page_is_its_tables(name):
    rows, tested = tables(name)
    text = (RESULTS / f"{name}.md").read_text()
    assert arms_report.page(experiment(name), rows, tested) == text
    table = part(text, "Tests")
    for line in part(text, "Short answers"):
        if not line.startswith("- "):
            continue
        verdict = re.findall(r"\*\*(.+?)\*\*", line)
        assert len(verdict) == 1, line
        number = line.partition("**: ")[2].partition(". ")[0]
        same = [row for row in table if f"| {verdict[0]} |" in row and f"| {number} |" in row]
        assert same, f"no row of the table carries: {line}"
        cells = same[0].strip("| ").split(" | ")
        assert len(cells) == 9 and cells[6] != "–", "which runs"
        if not any(word in verdict[0] for word in ("few", arms_tests.NOT_KEPT)):
            assert "[" in number and "p " in number and cells[5] != "–" and cells[7] != "–", line


@pytest.mark.parametrize("name", KEPT)
def test_verdicts_are_those_of_their_numbers(name):
    """Holm over what could be tested; nothing is called better or worse at p > .05, or against its interval."""
    _, tested = tables(name)
    with_p = [row for row in tested if row["p"] is not None]
    assert [row["p_holm"] for row in with_p] == pytest.approx(stats.holm([row["p"] for row in with_p]), abs=2e-4)
    for row in tested:
        sure = re.search(r"\b(better|worse|the other way round|^holds)\b", row["verdict"])
        if row["p"] is None:
            assert not sure, row
        elif sure:
            limit = row["p"] if "not once corrected" in row["verdict"] else row["p_holm"]
            assert limit <= 0.05 and (row["low"] > 0 or row["high"] < 0), row
        else:
            assert row["p_holm"] > 0.05, row


OTHERS = [path for path in sorted(RESULTS.rglob("*.md")) if path.stem not in KEPT]


@pytest.mark.parametrize("path", OTHERS, ids=lambda path: str(path.relative_to(RESULTS)))
def test_other_pages_give_no_verdict_and_no_figure_that_their_tables_do_not_carry(path):
    text = path.read_text()
    table = "\n".join(line for line in text.splitlines() if line.startswith("|"))
    for line in (line for line in text.splitlines() if not line.startswith("|")):
        bold = re.findall(r"\*\*(.+?)\*\*", line)
        assert all(f"| {verdict} |" in table for verdict in bold), line
        assert not VERDICT.search(re.sub(r"\*\*.+?\*\*", "", line)), line
        if line.startswith("- "):
            assert all(number in table for number in re.findall(r"[-+]?\d*\.\d+", line)), line


def answers_of_the_readme() -> list[str]:
    text = (FOLDER / "README.md").read_text().partition("## Short answers\n")[2].partition("\n## ")[0]
    return [re.sub(r"\s+", " ", one) for one in re.split(r"^- ", text, flags=re.MULTILINE)[1:]]


@pytest.mark.parametrize("line", answers_of_the_readme(), ids=lambda line: line[:40])
def test_answers_of_the_readme_stand_in_the_page_they_link(line):
    (page,) = re.findall(r"\(results/(\w+\.md)\)", line)
    table = [row for row in (RESULTS / page).read_text().splitlines() if row.startswith("|")]
    verdicts = re.findall(r"\*\*(.+?)\*\*", line)
    gaps = re.findall(r"[-+][\d.]+(?: points)?(?: \[[^]]+\](?:, p [=<] [\d.]+)?)?", line.partition("[" + page[:-3])[0])
    intervals = re.findall(r"(?<![\d.])\.\d+ \[[^]]+\]", line)
    assert verdicts or intervals
    for verdict in verdicts:
        assert any(f"| {verdict} |" in row for row in table), verdict
    for gap in (gap.rstrip(".") for gap in gaps):
        assert any(gap in row and any(f"| {verdict} |" in row for verdict in verdicts) for row in table), gap
    for figure in intervals:
        assert any(figure in row for row in table), figure


def test_photos_to_sketches_seen_and_unseen_objects_apart():
    table = pd.read_csv(RESULTS / "photos_to_sketches.csv")
    text = (RESULTS / "photos_to_sketches.md").read_text()
    assert (table["n"].sum(), table.loc[table["trained"], "n"].sum()) == (2864, 2274)
    for what, rows in (("of training photos", table[table["trained"]]), ("other objects", table[~table["trained"]])):
        counts = rows[["right", "n"]].to_numpy()
        right = np.concatenate([np.arange(n) < k for k, n in counts]).astype(float)
        low, high = stats.share(right, np.repeat(np.arange(len(rows)), rows["n"]))
        figures = f"{right.mean():.3f} [{low:.3f}, {high:.3f}] | {len(right):,} | {len(rows)} |".replace("0.", ".")
        assert any(what in line and figures in line for line in text.splitlines()), figures


def test_no_result_names_a_document():
    nameless = re.compile(r"\bdocument", re.IGNORECASE)
    texts = [*RESULTS.rglob("*.md"), *RESULTS.rglob("*.csv"), *RESULTS.rglob("*.json")]
    assert not [path.name for path in texts if nameless.search(path.read_text())]


def test_from_scratch_the_modified_stem_is_not_significant():
    tested = tables("chen2019_transfer")[1]
    pair = ("sketches, 15×15 and 3×3 pools, from scratch", "sketches, from scratch")
    (row,) = (r for r in tested if (r["a"], r["b"]) == pair)
    assert row["low"] < 0 < row["high"] and row["p_holm"] > 0.5 and row["verdict"] == "too few to tell"
    assert sum(r["p"] is not None for r in tested) == 25


def test_which_of_mamins_options_are_outside_the_spread():
    rows, tested = tables("mamin_gan")
    default = json.loads(next(r["single"] for r in rows if r["arm"] == "house, D sees four at a time"))
    low, high = stats.prediction(default)
    assert [round(v, 3) for v in default] == [0.215, 0.227, 0.23]
    values = {r["arm"]: json.loads(r["single"]) for r in rows}
    outside = {name for name, v in values.items() if name.startswith("house") and not all(low < x < high for x in v)}
    stand = {"gd_ratio 2", "gd_ratio 2, per epoch", "D sees one at a time", "D a pretrained MobileNetV2"}
    assert outside == {f"house, {name}" for name in stand}
    said = {row["a"] for row in tested if not row["key"] and "house" in row["a"] and "inside" not in row["verdict"]}
    assert said == outside


def test_like_for_like_the_very_photo():
    rows, tested = tables("das_debnath_retrieval")
    found = {row["arm"]: round(row["recall@10"], 3) for row in rows}
    pairs = {("contrastive, the very photo", "frozen MobileNetV2"), ("InfoNCE, the very photo", "InfoNCE")}
    assert {(found[a], found[b]) for a, b in pairs} == {(0.695, 0.521), (0.743, 0.545)}
    assert pairs <= {(row["a"], row["b"]) for row in tested if row["key"] == "test/recall@10"}


def test_means_over_splits_are_no_narrower_than_their_scores_allow():
    for row in tables("chen2019_stem")[0]:
        estimate = stats.estimate_scores(json.loads(row["single"]), test_per_train=240 / 480)
        low, high = stats.interval(estimate)
        assert (row["accuracy low"], row["accuracy high"]) == pytest.approx((max(low, 0), min(high, 1)), abs=1e-4)


def test_page_again_from_the_tables_alone(tmp_path, capsys):
    found = experiment("sketchanet_tuberlin")
    for end in (".csv", "_pairs.csv"):
        shutil.copy(RESULTS / f"{found.name}{end}", tmp_path)
    arms.main(found, ["--page", "--out", str(tmp_path)])
    kept, again = ((folder / f"{found.name}.md").read_text() for folder in (RESULTS, tmp_path))
    assert again == kept and (tmp_path / f"{found.name}.png").is_file()
    capsys.readouterr()
    with pytest.raises(SystemExit):
        arms.main(found, ["--page", "--out", str(tmp_path / "none")])
    err = capsys.readouterr().err
    assert "sketchanet_tuberlin.csv is not there" in err and err.count("\n") == 1


def test_rows_read_back_are_rows_written(tmp_path):
    found = experiment("chen2019_stem")
    rows, tested = tables("chen2019_stem")
    arms_report.save(found, rows, tested, tmp_path)
    assert arms_table.load(tmp_path / "chen2019_stem.csv") == rows
    assert list(pd.read_csv(tmp_path / "chen2019_stem_pairs.csv")) == list(arms_table.PAIR)


@pytest.fixture
def kept_mamin(tmp_path):
    for end in (".csv", "_pairs.csv"):
        shutil.copy(RESULTS / f"mamin_gan{end}", tmp_path)
    return tmp_path


def row_again(rows: list[dict], arm: str, single: list[float]) -> dict:
    old = next(row for row in rows if row["arm"] == arm)
    return old | {"single": json.dumps(single), "seeds": len(single), "kid@inception": float(np.mean(single))}


def test_some_arms_again_keep_the_other_rows_and_their_tests(kept_mamin):
    found = experiment("mamin_gan")
    rows, tested = tables("mamin_gan")
    again = row_again(rows, "house, jrelu", [0.130, 0.140, 0.137])
    all_rows, all_tested = arms_kept.joined(found, [again], [], kept_mamin)
    assert [row["arm"] for row in all_rows] == [row["arm"] for row in rows]
    assert next(row for row in all_rows if row["arm"] == "house, jrelu") is again
    one = next(row for row in all_tested if row["a"] == "house, jrelu")
    default = json.loads(next(row for row in rows if row["arm"] == "house, D sees four at a time")["single"])
    expected = scores_alone([0.130, 0.140, 0.137], default)
    assert one["p"] == expected.p and one["difference"] == pytest.approx(
        np.mean([0.13, 0.14, 0.137]) - np.mean(default)
    )
    with_p = [row for row in all_tested if row["p"] is not None]
    assert [row["p_holm"] for row in with_p] == pytest.approx(stats.holm([row["p"] for row in with_p]))
    assert one["verdict"] == ("better" if one["p_holm"] <= 0.05 else "no evidence of a difference")
    others = [row["a"] for row in all_tested if row["a"] != "house, jrelu"]
    assert others == [row["a"] for row in tested if row["a"] != "house, jrelu"]


def test_a_verdict_follows_holm_when_more_is_tested(kept_mamin):
    """The kept p = .0051 of "gd_ratio 2, per epoch" is significant alone, and of twelve tests no more."""
    rows, _ = tables("mamin_gan")
    new = [
        row_again(rows, arm, [0.3, 0.31, 0.32])
        for arm in ("18 shapes, D sees four at a time", "18 shapes, with classes, D sees four at a time")
    ]
    tests = [
        dict.fromkeys(arms_table.PAIR)
        | {
            "a": "18 shapes, with classes, D sees four at a time",
            "b": "18 shapes, D sees four at a time",
            "key": "",
            "p": 0.9,
        }
    ]
    tests[0] |= {
        "difference": 0.01,
        "low": -0.2,
        "high": 0.2,
        "test": "Welch's t over runs",
        "verdict": "too few to tell",
    }
    _, tested = arms_kept.joined(experiment("mamin_gan"), new, tests, kept_mamin)
    row = next(row for row in tested if row["a"] == "house, gd_ratio 2, per epoch")
    assert row["p_holm"] == pytest.approx(0.00513 * 12, abs=1e-4)
    assert row["verdict"] == "worse, outside the spread, but not once corrected"


def test_a_kept_row_of_no_arm_goes_and_is_named(kept_mamin, capsys):
    table = pd.read_csv(kept_mamin / "mamin_gan.csv")
    table.loc[0, "arm"] = "an arm of before"
    table.to_csv(kept_mamin / "mamin_gan.csv", index=False)
    rows, _ = arms_kept.joined(experiment("mamin_gan"), [], [], kept_mamin)
    assert "an arm of before" not in [row["arm"] for row in rows]
    assert "'an arm of before' is no arm any more" in capsys.readouterr().out
