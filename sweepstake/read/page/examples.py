"""What the networks look at: a training image of each class, where the data set is on this machine."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from sweepstake.base.cell import Ref
from sweepstake.base.errors import UserError
from sweepstake.pieces.datasets import Data, dataset, located
from sweepstake.read.analysis import StudyLike
from sweepstake.read.page.pictures import data_uri

SETS, IMAGES, WIDEST = 3, 10, 32
"""Data sets and images of each that are shown, and the pixels that an image is wide at most."""


def section(results: Sequence[Mapping[str, Any]], study: StudyLike,
            data: Path | str | None = None) -> list[dict[str, Any]]:
    """Of each data set of the study, ten images, one a class; of one that is not here, only what it is."""
    found = {msgspec.json.encode(result["cell"]["dataset"], order="deterministic"): result["cell"]["dataset"]
             for result in results if result["cell"].get("dataset")}
    folder = getattr(study, "folder", Path())
    return [_of(msgspec.convert(said, Ref), folder, data) for said in list(found.values())[:SETS]]


def _of(ref: Ref, folder: Path, data: Path | str | None) -> dict[str, Any]:
    from sweepstake.run.data import data_directories, decoded_cache, load_data  # With NumPy.

    source = dataset.get(ref.name).claim
    try:
        read = load_data(located(ref, folder), data_directories(data), decoded_cache())
    except (UserError, OSError):
        return {"name": ref.name, "source": source, "images": [], "shape": "", "counts": ""}
    shape = read.train_x.shape[1:]
    return {"name": ref.name, "source": source, "images": _one_a_class(read),
            "shape": " × ".join(map(str, [*shape[1:], *([f"{shape[0]} channels"] if shape[0] > 1 else [])])),
            "counts": f"{len(read.train_x):,} training and {len(read.test_x):,} test images"}


def _one_a_class(read: Data) -> list[dict[str, str]]:
    """The first training image of each class, in the order of classes."""
    import numpy as np

    first = {int(one): int(place) for one, place in zip(*np.unique(read.train_y, return_index=True), strict=True)}
    return [{"class": str(number), "uri": data_uri(_drawable(read.train_x[place]))}
            for number, place in list(first.items())[:IMAGES]]


def _drawable(image: Any) -> Any:
    """(channels, height, width) as greys or colours, thinned where it is large; as bright as it can be."""
    import numpy as np

    step = -(-max(image.shape[1:]) // WIDEST)
    small = image[:3, ::step, ::step].astype(float)
    low, high = small.min(), small.max()
    small = ((small - low) * (255 / (high - low or 1))).astype(np.uint8)
    return small.transpose(1, 2, 0) if len(small) == 3 else small[0]
