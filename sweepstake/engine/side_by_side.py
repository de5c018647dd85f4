"""Iterative pruning of many cells side by side: the rounds of a stack, and stacks that fit the memory there is."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from torch import Tensor

from sweepstake.base.cell import Cell
from sweepstake.base.errors import UserError
from sweepstake.engine.memory import give_back, out_of_memory
from sweepstake.engine.rounds import Setting, State, finish_round
from sweepstake.engine.stacked import StackTrainer
from sweepstake.engine.train import Measured, Trained

Finished = tuple[int, dict[str, Any] | Exception, State | None]
"""A cell's number, its round's record and the state of its next round; or the error that ended it, and None."""


def run_stack(trainer: StackTrainer, cells: Sequence[Cell], states: Sequence[State], names: Sequence[str] | None = None,
              donors: Sequence[Mapping[int, Tensor] | None] | None = None) -> Iterator[Finished]:
    """`rounds.run_rounds` of many cells side by side. Yields a finished round of one cell at a time.

    Cells that are rounds behind the others (after a resume) catch up first. A cell that ends leaves the stack, and the
    rest go on. A transplant takes its masks from `donors`.
    """
    states, names, donors = list(states), names or [""] * len(cells), donors or [None] * len(cells)
    settings = [Setting.of(trainer, cell, masks) for cell, masks in zip(cells, donors, strict=True)]
    while unfinished := [i for i, cell in enumerate(cells) if states[i].round <= cell.rounds]:
        round_ = min(states[i].round for i in unfinished)
        here = [i for i in unfinished if states[i].round == round_]
        if trainer.cells != [cells[i] for i in here]:
            images, device, watch = trainer.images, trainer.device, trainer.watch
            del trainer  # Its memory is free before the next one is made.
            trainer = StackTrainer([cells[i] for i in here], images, device, watch)
        trained = trainer.train([states[i].start for i in here], round_, [names[i] for i in here])
        for i, each, measured in zip(here, trained, _measured(trainer, trained), strict=True):
            try:
                record, states[i] = finish_round(settings[i], states[i], each, measured)
            except Exception as error:  # An error of one cell (of its plug-in, say) must not end its neighbours.
                if out_of_memory(error):
                    raise
                states[i] = State(cells[i].rounds + 1, states[i].start)
                yield i, error, None
            else:
                yield i, record, states[i]


def _measured(trainer: StackTrainer, trained: Sequence[Trained]) -> list[Callable[[Tensor], Measured]]:
    """A `measure` for each cell that knows its last and its best weights, measured by the whole stack at once."""
    measured = [trainer.measure([each.w_final for each in trained])]
    if any(each.w_early is not None and each.early_step != each.steps for each in trained):
        measured.append(trainer.measure([each.w_final if each.w_early is None else each.w_early for each in trained]))

    def measure(seat: int, w: Tensor) -> Measured:
        return measured[w is not trained[seat].w_final][seat]

    return [partial(measure, seat) for seat in range(len(trained))]


RunsAStack = Callable[[list[Cell], list[State], list[str]], Iterator[Finished]]
"""Runs these cells from these states side by side, as `run_stack` does."""


def train_in_stacks(cells: Sequence[Cell], states: Sequence[State], names: Sequence[str], limit: int,
                    run: RunsAStack) -> Iterator[Finished]:
    """Train every cell to its end, `limit` side by side.

    Where memory runs out, half as many go on from their last finished rounds.
    """
    states = list(states)
    waiting = list(range(len(cells)))
    while waiting:
        here, full = waiting[:limit], False
        try:
            running = run([cells[i] for i in here], [states[i] for i in here], [names[i] for i in here])
            for seat, record, state in running:
                i = here[seat]
                states[i] = State(cells[i].rounds + 1, states[i].start) if state is None else state
                yield i, record, state
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
            if len(here) == 1:
                raise UserError(f'model = "{cells[here[0]].model.name}": one cell alone does not fit on the device. '
                                f"Take a smaller batch_size, or train on the CPU.") from error
            full, limit = True, -(-len(here) // 2)
        # Outside `except`: there the error still refers to frames that refer to the memory.
        if full:
            give_back()
        done = {i for i in here if not full or states[i].round > cells[i].rounds}
        waiting = [i for i in waiting if i not in done]
