"""The trained weights of a cell that were kept: a sealed file a round, each proven when it is read.

No result depends on them: a cell is done without, and a damaged file of weights takes no result with it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from sweepstake.run.files import write_whole, writing
from sweepstake.run.sealed import read, seal_tensors

if TYPE_CHECKING:
    from torch import Tensor

Which = int | Literal["step", "start"]
"""The end of a round; the step of round 0 that a reset rewinds to; the beginning, where no init draws it again."""


@dataclass(frozen=True)
class Weights:
    """Those of one cell, by the parameters' names and in their shapes."""

    folder: Path
    """The cell's own."""
    id: str

    @property
    def rounds(self) -> list[int]:
        """The rounds whose last weights are kept."""
        names = (path.name.split(".")[1] for path in self.folder.glob("weights.*.safetensors"))
        return sorted(int(name) for name in names if name.isdecimal())

    @property
    def files(self) -> dict[str, Path]:
        """Every file of them, by the kind that it is sealed as."""
        return {path.stem: path for path in sorted(self.folder.glob("weights.*.safetensors"))}

    def path(self, which: Which) -> Path:
        return self.folder / f"weights.{which}.safetensors"

    def read(self, which: Which) -> "dict[str, Tensor] | None":
        """None where they were not kept; Damaged where they are not as they were written."""
        file = read(self.path(which), f"weights.{which}", self.id)
        return file.tensors if file else None

    def put(self, which: Which, tensors: "Mapping[str, Tensor]") -> None:
        write_whole(self.path(which), seal_tensors(f"weights.{which}", self.id, tensors))

    def drop(self, chosen: Callable[[int], bool]) -> None:
        """Remove the weights of those rounds."""
        for round_ in filter(chosen, self.rounds):
            self._remove(round_)

    def drop_unfinished(self, done: int) -> None:
        """Remove what was put for rounds that are not among the `done` first: they will be trained again."""
        self.drop(lambda round_: round_ >= done)
        if not done:
            self._remove("step")

    def _remove(self, which: Which) -> None:
        with writing(self.path(which)):
            self.path(which).unlink(missing_ok=True)
