"""Who computes. An executor is one function in a file of its own: `execute(tasks, settings, on_event)`.

It brings every task to an end and returns: a result or a failure in the store, and one last event, `Done` or `Failed`
(or `Died` with `again = False`). What is in the store already is `Done`, not computed. A task goes on from its last
finished round, and a cell that another run holds is `Busy` and waited for. What is wrong with one cell ends no other;
what is wrong with the machine, a full disk say, is a UserError. After Ctrl-C nothing goes on in the background, and
what is finished is kept.
"""

from collections.abc import Callable, Sequence

from sweepstake.base.events import OnEvent
from sweepstake.run.settings import Settings, Task

Execute = Callable[[Sequence[Task], Settings, OnEvent], None]


def executor_for(settings: Settings) -> Execute:
    """A process a cell, or stacks where a device or a size of stack is named; or parcels to a cluster.

    A device that is not here is refused, and a cluster whose library is not.
    """
    if settings.on:
        from sweepstake.run.executors.away import cluster_for, execute

        cluster_for(settings)
    elif settings.side_by_side:
        from sweepstake.run.executors.stacked import check_device, execute

        check_device(settings.device)
    else:
        from sweepstake.run.executors.processes import execute
    return execute
