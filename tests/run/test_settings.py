"""One place for where things lie and how cells run: what is asked, else `[machine]`, else the default."""

import pytest

from sweepstake.base.errors import UserError
from sweepstake.run.settings import Settings
from tests.small import small_study

MACHINE = {"store": "kept", "data": "images", "workers": 3, "device": "cpu", "stack": 4, "engine": "reference", "timeout_minutes": 2}


def told(study, **asked):
    made = Settings.of(study, **asked)
    return str(made.store), made.data, made.workers, made.device, made.stack, made.engine, made.timeout_seconds, made.retry


def test_what_is_asked_comes_before_machine_and_machine_before_the_default(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1, 2, 3, 4}, raising=False)
    study = small_study(machine=MACHINE)
    assert told(small_study()) == ("runs", None, 5, "cpu", None, "fast", None, False)
    assert told(study, store=None, workers=None, device=None) == ("kept", "images", 3, "cpu", 4, "reference", 120, False)
    asked = {"store": "s", "data": "d", "workers": 1, "device": "cuda", "stack": 2, "engine": "fast", "retry": True}
    assert told(study, **asked) == ("s", "d", 1, "cuda", 2, "fast", 120, True)


@pytest.mark.parametrize(("asked", "line"), [
    ({"workers": 0}, "--workers 0: at least 1."),
    ({"stack": -1}, "--stack -1: at least 1."),
    ({"device": "tpu"}, "--device tpu: say cpu or cuda."),
    ({"engine": "slow"}, "--engine slow: say fast or reference."),
])
def test_what_cannot_be_is_one_line(asked, line):
    with pytest.raises(UserError) as caught:
        Settings.of(small_study(), **asked)
    assert str(caught.value) == line


def test_cells_train_side_by_side_where_a_device_or_a_stack_is_named():
    assert not Settings.of(small_study()).side_by_side
    assert Settings.of(small_study(), stack=1).side_by_side
    assert Settings.of(small_study(), device="cuda").side_by_side
