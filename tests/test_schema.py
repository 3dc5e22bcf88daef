"""Run folders written before stay usable."""

from __future__ import annotations

import pytest
import yaml

import sketchlab
from sketchlab import config, run
from sketchlab.errors import UserError
from sketchlab.schema import ADDED, SCHEMA, settled, upgraded
from tests import every


def test_a_run_of_the_first_schema_opens_and_answers_the_same(tmp_path):
    run.execute(config.from_overrides(every.small("small_cnn", f"run.root={tmp_path}")), reported=False)
    folder = every.folder_in(tmp_path)
    picture = str(folder / "samples" / "data.png")
    today = sketchlab.open_run(folder).predict([picture])
    document = yaml.safe_load((folder / "config.yaml").read_text())
    assert document["schema"] == SCHEMA
    for group, name, key, _ in ADDED[1]:
        if name in ("", document["config"][group].get("name")):
            del document["config"][group][key]
    (folder / "config.yaml").write_text(yaml.safe_dump({**document, "schema": 1}))
    assert today.equals(sketchlab.open_run(folder).predict([picture]))


def test_a_key_that_was_added_changes_no_id_until_it_is_used():
    plain = config.from_overrides([]).plain()
    old = settled(plain)
    assert not {"recompute", "profile"} & set(old["runtime"]) and "pose_weight" not in old["pipeline"]
    used = settled({**plain, "pipeline": {**plain["pipeline"], "pose_weight": 0.5}})
    assert used["pipeline"] == {**old["pipeline"], "pose_weight": 0.5}
    assert plain["runtime"]["recompute"] is False, "what was given is left alone"


def test_what_is_there_stays_and_what_is_newer_is_refused(tmp_path):
    old = {"schema": 1, "config": {"runtime": {"recompute": True}, "pipeline": {"name": "gan"}}}
    new = upgraded(old, tmp_path)
    runtime = {"recompute": True, "profile": False, "overlap": False, "graph": "false"}
    assert new["config"] == {"runtime": runtime, "pipeline": {"name": "gan"}}
    assert old["config"]["runtime"] == {"recompute": True}, "what was read is left alone"
    for schema in (0, SCHEMA + 1, "two"):
        with pytest.raises(UserError, match=f"schema {schema}, expected 1 to {SCHEMA}"):
            upgraded({"schema": schema}, tmp_path)


def test_every_key_that_was_added_is_one_of_today():
    for choice in every.modules():
        plain = every.composed(choice).plain()
        for added in ADDED.values():
            for group, name, key, _ in added:
                assert name not in ("", plain[group].get("name")) or key in plain[group], f"{group}.{key}"
