"""Who computes. An executor is one function in a file of its own: `execute(queue, settings, on_event)`.

It takes a cell from the queue whenever it has room for one (`queue.take()`: nobody else has it then, and it is not in
the store), brings it to an end, and says so (`queue.end`), until `queue.is_over`. An end is a result or a failure in
the store and one last event, `Done` or `Failed` (or `Died` with `again = False`, where `queue.died` says so). A cell
goes on from its last finished round; what another run has taken over meanwhile is `queue.lost`. What is wrong with one
cell ends no other; what is wrong with the machine, a full disk say, is a UserError. After Ctrl-C nothing goes on in
the background, and what is finished is kept.

An executor may compute cells in any order, and one of them more than once. It never changes an id or, on equal
hardware, a number.
"""

from collections.abc import Callable

from sweepstake.base.events import OnEvent
from sweepstake.run.queue import Queue
from sweepstake.run.settings import Settings

Execute = Callable[[Queue, Settings, OnEvent], None]


def executor_for(settings: Settings) -> Execute:
    """A process a cell, or stacks where a device or a size of stack is named. A device that is not here is refused."""
    if settings.side_by_side:
        from sweepstake.run.executors.stacked import check_device, execute

        check_device(settings.device)
    else:
        from sweepstake.run.executors.processes import execute
    return execute
