"""Loggers by their names, as `--log` says them."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from sweepstake.base.errors import UserError, unknown
from sweepstake.read.logs.contract import Sink
from sweepstake.read.logs.logger import Logger
from sweepstake.read.logs.tensorboard import TensorBoard
from sweepstake.read.logs.trackio import Trackio
from sweepstake.read.logs.wandb import WandB
from sweepstake.run.opened import open_if_there
from sweepstake.run.progress import Counted
from sweepstake.study.study import Study

SINKS = {"tensorboard": TensorBoard, "trackio": Trackio, "wandb": WandB}
FORMS = "Say tensorboard:DIR, trackio, trackio:PROJECT, wandb or wandb:DIR."


def logger_of(asked: Sequence[str], study: Study, store: Path, console: Console, option: str = "--log") -> Logger:
    """What feeds the loggers that are asked for with the cells of a study, from a store that may not be there yet."""
    sinks = sinks_of(asked, study.name, store, option)

    def tell(line: str) -> None:
        console.print(f"{option} {line}", style="yellow", soft_wrap=True)

    return Logger(sinks, lambda: open_if_there(study, store), tell, lambda: Counted("cells logged", console))


def sinks_of(asked: Sequence[str], study: str, store: Path, option: str = "--log") -> list[Sink]:
    """The loggers that are asked for, each library imported and each folder made; a mistake is told before work."""
    return [_sink(said, study, store, option) for said in dict.fromkeys(asked)]


def _sink(said: str, study: str, store: Path, option: str) -> Sink:
    kind, colon, where = said.partition(":")
    if kind not in SINKS:
        raise UserError(unknown(f"{option} {said}", "logger", kind, SINKS, FORMS))
    if (colon or kind == "tensorboard") and not where:
        raise UserError(f"{option} {said}: says no {'project' if kind == 'trackio' else 'folder'}. {FORMS}")
    folder = Path(where).resolve()
    if kind != "trackio" and where and store.resolve() in (folder, *folder.parents):
        raise UserError(f"{option} {said}: that is in the store ({store}), which holds nothing but results. "
                        "Name another folder.")
    return SINKS[kind](where, study)
