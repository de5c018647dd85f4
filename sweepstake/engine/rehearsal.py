"""Each piece of a plug-in is called once on stand-ins of the right shapes: misfits show before anything trains."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import isfinite

import msgspec
import torch

from sweepstake.base.cell import SETS, Cell, Ref
from sweepstake.base.errors import UserError
from sweepstake.engine import streams
from sweepstake.engine.build import draw_init
from sweepstake.engine.examples import OfImages
from sweepstake.engine.images import Images, Split
from sweepstake.engine.masks import pruned_slots
from sweepstake.engine.network import Net, Slot
from sweepstake.engine.prune import prune
from sweepstake.engine.rounds import reset
from sweepstake.engine.scores import Scorer
from sweepstake.engine.train import Trained
from sweepstake.pieces import REGISTRIES, criterion, lr_schedule
from sweepstake.pieces.donors import donor_of

IMAGES = 8
OF_DATA = {"grad", "hessian_grad", "flow_grad", "activation", "input_norm", "loss_of"}
"""What a criterion may take that depends on images, and so is of noise here."""
PROGRESS = (0.0, 0.5, 0.9)
"""Places in a round at which a schedule is called."""


def rehearse(net: Net, cell: Cell) -> None:
    """Call the cell's plug-in pieces as a round does, without its training."""
    masker = donor_of(cell) if cell.control == "transplant" else cell
    ours = {field: getattr(masker if field in ("criterion", "allocation") else cell, field) for field in SETS}
    plugged: dict[str, Ref] = {
        field: ref for field, ref in ours.items() if REGISTRIES[SETS[field]].get(ref.name).source}
    if not plugged:
        return
    with streams.torch_draws(cell.seed, "rehearsal"):
        with _blamed(plugged, "init", "bias_init"):
            w_init = draw_init(net, cell, "init")
        moved = 0.01 * torch.randn(net.size, dtype=torch.float64).to(w_init.dtype)
        stations = {"w_init": w_init, "w_step": w_init + moved / 2, "w_start": w_init, "w_final": w_init + moved}
        mask, examples = torch.ones(net.size, dtype=torch.bool), OfImages(_images(net))
        if "criterion" in plugged:
            with _blamed(plugged, "criterion"):
                ref = masker.criterion
                scorer = Scorer(net, masker, stations, mask, 0, examples, ref.name, ref.options)
                _check_scores(scorer, pruned_slots(net, masker))
        if "allocation" in plugged:
            with _blamed(plugged, "allocation"):
                by_chance = msgspec.structs.replace(masker, criterion=criterion.ref("random", {}, "criterion"))
                prune(net, by_chance, stations, mask, int(cell.prune_when == "after"), examples)
        if "reset" in plugged:
            with _blamed(plugged, "reset"):
                reset(net, cell, stations, mask, 0, Trained(stations["w_final"], None, None, None, [], {}, 0, {}))
        if "lr_schedule" in plugged:
            with _blamed(plugged, "lr_schedule"):
                schedule = lr_schedule.get(cell.lr_schedule.name)
                for progress in PROGRESS:
                    factor = schedule({"progress": lambda at=progress: at}, cell.lr_schedule.options)
                    if not isfinite(factor):
                        raise UserError(f"{schedule.told()}: gave {factor} at progress {progress:g}, "
                                        "expected a finite number.")


def _check_scores(scorer: Scorer, slots: Sequence[Slot]) -> None:
    """Scores of weights are finite numbers. Of noise some need not be, for units may be dead in all of it."""
    if not OF_DATA & set(scorer.piece.takes):
        scorer.scores(slots)
        return
    for slot, each in scorer.any_scores(slots).items():
        if each.isnan().all():
            raise UserError(f"{scorer.piece.told()}: no score of {slot.layer} is a number, but each is NaN.")


def _images(net: Net) -> Images:
    """Noise instead of images, every class in turn."""
    split = Split(torch.randint(256, (IMAGES, *net.inputs)).to(torch.uint8), torch.arange(IMAGES) % net.classes)
    scale = torch.full((1, net.inputs[0], 1, 1), 255.0, dtype=torch.float64)
    return Images(split, None, split, torch.zeros_like(scale), scale, net.inputs, net.classes)


@contextmanager
def _blamed(plugged: dict[str, Ref], *fields: str) -> Iterator[None]:
    """An error over something that a piece gave becomes a message that names the piece."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        pieces = (REGISTRIES[SETS[field]].get(plugged[field].name) for field in fields if field in plugged)
        names = " and ".join(dict.fromkeys(piece.told(error) for piece in pieces))
        raise UserError(
            f"{names or fields[0]}: what it gave cannot be used: {type(error).__name__}: {error}. Mend the plug-in."
        ) from error
