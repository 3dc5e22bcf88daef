"""Every loss and sampler of retrieval, killed and resumed, ends as one never killed, to the bit."""

from __future__ import annotations

import signal

import pytest

from tests import every
from tests.test_exact import digest, start

CASES = {
    "triplets mined, classes balanced": ["pipeline.loss=triplet", "pipeline.sampler=semihard", "pipeline.balance=true"],
    "triplets drawn": ["pipeline.loss=triplet", "pipeline.match=instance", "pipeline.hard_share=0.5"],
    "hard pairs": ["pipeline.sampler=hard", "pipeline.match=instance", "model.shared=false"],
    "all pairs": ["pipeline.sampler=all", "loop.accumulate=2", "data/augment=mild"],
    "infonce": ["pipeline.loss=infonce", "pipeline.sampler=all", "model.dropout=0.3"],
}


@pytest.mark.long  # the fast set cuts small_siamese, as it is
@pytest.mark.parametrize("case", CASES)
def test_killed_and_resumed_equals_unbroken(case, tmp_path):
    run = every.small("small_siamese", *CASES[case])
    assert start(run, tmp_path / "whole") == 0
    again = [*run, "loop.save_every_s=0", "runtime.workers=2"]
    assert start(again, tmp_path / "broken", 3, "step") == -signal.SIGKILL
    assert start(again, tmp_path / "broken") == 0
    whole, resumed = (digest(every.folder_in(tmp_path / name)) for name in ("whole", "broken"))
    assert whole == resumed
    log = (every.folder_in(tmp_path / "broken") / "train.log").read_text()
    assert "resumed at step" in log, "it was killed before anything was saved"


@pytest.mark.long
def test_ranks_mine_their_own_part_of_the_batch(tmp_path):
    mined = ["pipeline.loss=triplet", "pipeline.sampler=hard", "runtime.ranks=2", "loop.batch_size=8"]
    for name in ("one", "two"):
        assert start(every.small("small_siamese", *mined), tmp_path / name) == 0
    assert digest(every.folder_in(tmp_path / "one")) == digest(every.folder_in(tmp_path / "two"))
