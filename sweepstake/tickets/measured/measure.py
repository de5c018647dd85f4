"""A network dense and as its ticket, side by side in one run: what each has, and how long each takes."""

import statistics
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.benchmark import Timer

from sweepstake.base.errors import UserError
from sweepstake.run.provenance import machine
from sweepstake.tickets.exported.example import Example, Inputs, device_of
from sweepstake.tickets.measured.counting import Counts, count

TURNS = 21
"""How often each of the two is timed, in turn; modules that take long are timed less often, but five times."""

NOTICED = 1.05
"""A smaller ratio of times is not called faster."""


@dataclass(frozen=True)
class Measured:
    """Numbers of one run on one machine."""

    rows: tuple[dict[str, Any], ...]
    """`what`, `dense`, `ticket` and their `ratio`; of times, in seconds, also the `quartiles` of each of the three."""
    said: tuple[str, ...]
    machine: str
    """The processor and the threads."""

    def __str__(self) -> str:
        cells = [(row["what"], _told(row, "dense"), _told(row, "ticket"), f"{row['ratio']:.3g}") for row in self.rows]
        lines = [("", "dense", "ticket", "ratio"), *cells]
        wide = [max(len(line[place]) for line in lines) for place in range(4)]
        table = ["  ".join((line[0].ljust(wide[0]), *(line[at].rjust(wide[at]) for at in (1, 2, 3)))).rstrip()
                 for line in lines]
        return "\n".join([*table, *self.said])


@dataclass(frozen=True)
class Times:
    """Seconds of a call at a batch, the two timed in turn."""

    batch: int
    dense: list[float]
    ticket: list[float]

    @property
    def ratios(self) -> list[float]:
        return [dense / ticket for dense, ticket in zip(self.dense, self.ticket, strict=True)]

    @property
    def row(self) -> dict[str, Any]:
        series = {"dense": self.dense, "ticket": self.ticket, "ratio": self.ratios}
        return {"what": f"time, batch {self.batch}", **{name: statistics.median(each) for name, each in series.items()},
                "quartiles": {name: _quartiles(each) for name, each in series.items()}}


def measure(dense: nn.Module, ticket: nn.Module, example: Example, *, batches: Sequence[int] = (1, 64),
            threads: int | None = None, pays_below: float | None = None, seconds: float = 0.3) -> Measured:
    """Count and time two modules in evaluation on the same inputs, in turn.

    The example is repeated or cut to each batch. `threads`: of PyTorch's while timing (default: as many as now).
    `pays_below`: the fraction kept below which sparse layers are faster here, where that is known: it is told where
    the ticket is no faster. `seconds`: how long each module is timed at each batch.
    """
    device = device_of(dense)
    if device_of(ticket) != device:
        raise UserError(f"measure: the dense module is on {device}, the ticket's on {device_of(ticket)}. Move one.")
    if not batches or min(batches) < 1 or (threads or 1) < 1 or seconds <= 0:
        raise UserError("measure: batches, threads and seconds are more than 0.")
    inputs, threads = Inputs.of(example).to(device), threads or torch.get_num_threads()
    with _evaluated(dense, ticket), torch.no_grad():
        _try({"dense module": dense, "ticket's module": ticket}, inputs.of_batch(min(batches)))
        counts = count(dense, inputs.of_batch(1)), count(ticket, inputs.of_batch(1))
        times = [_timed(dense, ticket, inputs.of_batch(batch), threads, seconds) for batch in batches]
    where = _where(device, threads)
    said = [_sentence(each, where) for each in times]
    if any(_verdict(each) != "faster" for each in times):
        said += _why(*counts, pays_below)
    return Measured((*_rows(*counts), *(each.row for each in times)), tuple(said), where)


def _rows(dense: Counts, ticket: Counts) -> list[dict[str, Any]]:
    named = {"parameters": "parameters", "parameters not 0": "not_zero", "bytes on disk": "bytes",
             "multiply-adds computed": "computed", "multiply-adds not of 0": "useful"}
    rows = []
    for what, field in named.items():
        one, other = getattr(dense, field), getattr(ticket, field)
        rows.append({"what": what, "dense": one, "ticket": other, "ratio": one / other if other else float("nan")})
    return rows


def _timed(dense: nn.Module, ticket: nn.Module, inputs: Inputs, threads: int, seconds: float) -> Times:
    timers = [Timer("call()", globals={"call": lambda module=module: inputs.into(module)}, num_threads=threads)
              for module in (dense, ticket)]
    # The least of three: from one that the machine held up, turns would be cut too short to warm its caches.
    once = [min(timer.timeit(1).median for _ in range(3)) for timer in timers]
    turns = min(TURNS, max(5, int(seconds / max(once))))
    numbers = [max(1, round(seconds / turns / each)) for each in once]
    taken: tuple[list[float], list[float]] = ([], [])
    for turn in range(turns):
        for which in ((0, 1), (1, 0))[turn % 2]:
            taken[which].append(timers[which].timeit(numbers[which]).median)
    return Times(inputs.batch, *taken)


def _verdict(times: Times) -> str:
    """Faster or slower only where the middle half of all turns says so, and by a noticeable ratio."""
    ratio, (low, high) = statistics.median(times.ratios), _quartiles(times.ratios)
    return "faster" if low > 1 and ratio >= NOTICED else "slower" if high < 1 and ratio <= 1 / NOTICED else "no faster"


def _sentence(times: Times, where: str) -> str:
    verdict, (low, high) = _verdict(times), _quartiles(times.ratios)
    ratio, half = statistics.median(times.ratios), f"half of all turns: {low:.2f} to {high:.2f}"
    if verdict == "faster":
        return f"{ratio:.2g} times as fast at batch {times.batch} on {where} ({half})."
    return f"{verdict} at batch {times.batch} on {where} ({ratio:.2f} times as fast; {half})."


def _why(dense: Counts, ticket: Counts, pays_below: float | None) -> list[str]:
    kept = f"{100 * ticket.not_zero / dense.parameters:.3g} % of the dense parameters are not 0"
    if pays_below is not None:
        return [f"{kept}; sparse layers pay below {100 * pays_below:.3g} % kept on this machine."]
    if ticket.computed == dense.computed and ticket.useful < ticket.computed:
        return [f"{kept}, and zeros in dense layers are computed like any weight."]
    return [f"{kept}."]


def _where(device: torch.device, threads: int) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{'one thread' if threads == 1 else f'{threads} threads'} of {machine()['processor']}"


def _quartiles(values: Sequence[float]) -> tuple[float, float]:
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, high


def _told(row: dict[str, Any], which: str) -> str:
    """A count whole; a time in microseconds with its quartiles."""
    if "quartiles" not in row:
        return f"{row[which]:,}"
    low, high = row["quartiles"][which]
    return f"{row[which] * 1e6:,.0f} us ({low * 1e6:,.0f}-{high * 1e6:,.0f})"


def _try(modules: dict[str, nn.Module], inputs: Inputs) -> None:
    for name, module in modules.items():
        try:
            inputs.into(module)
        except UserError:
            raise
        except Exception as error:
            why = (str(error).splitlines() or [""])[0]
            raise UserError(f"measure: the {name} fails on the example ({type(error).__name__}: {why}).") from error


@contextmanager
def _evaluated(*modules: nn.Module) -> Iterator[None]:
    """In evaluation meanwhile, each part as it was after."""
    training = {part: part.training for module in modules for part in module.modules()}
    for module in modules:
        module.eval()
    try:
        yield
    finally:
        for part, was in training.items():
            part.training = was
