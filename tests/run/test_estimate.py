"""What a study will cost is timed on networks pruned as its cells will be."""

from pathlib import Path

import numpy as np
import pytest

from sweepstake.engine.measure import alive_units
from sweepstake.engine.train import Trainer
from sweepstake.run.estimate import TIMED, _cost
from sweepstake.study.study import Planned
from tests.helpers import make_cell


@pytest.mark.parametrize(("granularity", "criterion"), [("unit", "unit_l2"), ("weight", "magnitude")])
def test_a_cell_that_loses_units_is_timed_without_them(monkeypatch, granularity, criterion):
    left, train = set(), Trainer.train

    def seen(trainer, cell, start, *rest):
        left.add(int(alive_units(trainer.net, "conv2", start.mask).sum()))
        return train(trainer, cell, start, *rest)

    monkeypatch.setattr(Trainer, "train", seen)
    cell = make_cell(model=("conv2", {"width": 0.25}), granularity=granularity, criterion=criterion, batch_size=10)
    cost = _cost(Planned("id", cell, {}), Path())
    assert cost.steps == 20 and len(cost.step_seconds) == len(TIMED) and min(cost.step_seconds) > 0
    assert cost.measure_seconds > 0 and cost.parameters > 20_000
    assert (left == {max(1, round(16 * kept)) for kept in TIMED}) == (granularity == "unit")


def test_kept_weights_are_in_the_disk_that_a_study_costs(monkeypatch):
    from sweepstake.run import estimate as module
    from tests.small import small_study

    monkeypatch.setattr(module, "_cost", lambda *_: module._Cost(10, np.log([0.01, 1.0]), np.array([1e-4, 1e-4]), 0.0, 910))
    sizes = [module.estimate(small_study(machine={"save_weights": saves}), 1).bytes for saves in ("none", "last", "all")]
    assert [size - sizes[0] for size in sizes] == [0, 2 * 910 * 4, 2 * 3 * 910 * 4]


def test_stacks_that_differ_in_rounds_alone_are_timed_once_and_what_prunes_before_trains_less(monkeypatch):
    from sweepstake.run import estimate as module
    from tests.small import small_study

    timed = []
    cost = module._Cost(100, np.log([0.01, 1.0]).tolist(), [0.01, 1.0], 0.0, 910)
    monkeypatch.setattr(module, "_cost", lambda planned, _: timed.append(planned.id) or cost)
    cases = [{"prune_when": "after", "rounds": 1}, {"prune_when": "before", "rounds": 0, "criterion": "snip"}]
    study = small_study(case=[{"label": each["prune_when"], **each} for each in cases], keep=0.01)
    found = module.estimate(study, 1)
    assert len(timed) == 1 and found.stacks == 2
    each = len(study.cells) / 2
    assert found.seconds == pytest.approx(each * (100 * (1.0 + 0.01 + 0.01) + 3 * 0.05))
