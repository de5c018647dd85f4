"""Files of images that are not what results were made from: an id holds a file's path, and not what it holds."""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from sweepstake.base.errors import UserError
from sweepstake.base.records import Result
from sweepstake.pieces.datasets import Data, located
from sweepstake.run.data import data_hashes, decoded_cache, file_hash, load_data
from sweepstake.run.settings import Task


class Changed(UserError):
    """A file of images is not as it was when the run began: no cell's fault."""


def data_of(task: Task) -> Data:
    """The images of a cell as they lie here, if they are still those that the run began with."""
    folder = Path(task.folder)
    now = data_hashes(task.cell.dataset, folder)
    if other := [said for said, hash_ in task.files.items() if now.get(said) != hash_]:
        raise Changed(f'data set "{task.cell.dataset.name}": {other[0]} has changed since this run began. '
                      "What is finished is kept. Run again, or put the file back.")
    return load_data(located(task.cell.dataset, folder), [Path(each) for each in task.data], decoded_cache())


def changed(folder: Path, results: Sequence[Result]) -> list[str]:
    """A line for each file of images that has changed since results were made from it, or between them.

    `folder` is the one that paths are said from. Results from before their files were hashed tell nothing, and neither
    does a file that is not here.
    """
    return [line for said in _files_of(results) if (line := _line(said, folder / said, _counted(said, results)))]


def without_rounds(result: Result) -> Result:
    """What is read here of a result, and no more."""
    files = result["provenance"]["data_files"]
    return {**result, "rounds": [{} for _ in result["rounds"][:1]], "provenance": {"data_files": files}}


def _line(said: str, place: Path, made: Counter[str]) -> str:
    now, every = file_hash(place) if place.is_file() else None, made.total()
    then = "Its path is part of an id, what it holds is not. Give other images another name, or an empty --store."
    if now and (others := every - made[now]):
        before = ", ".join(hash_[:16] for hash_ in made if hash_ != now)
        return (f"{said} has changed since {others} of {every} results were made from it (sha256 {before} then, "
                f"{now[:16]} now). {then}")
    if len(made) > 1:
        told = ", ".join(f"{hash_[:16]} ({count} result{'s' * (count != 1)})" for hash_, count in made.most_common())
        return f"{said} was not the same for all results: sha256 {told}. {then}"
    return ""


def _files_of(results: Iterable[Result]) -> list[str]:
    return list(dict.fromkeys(said for each in results for said in each["provenance"].get("data_files", {})))


def _counted(said: str, results: Iterable[Result]) -> Counter[str]:
    """Each hash that results name for a file, with how many do."""
    found = (each["provenance"].get("data_files", {}).get(said) for each in results if each["rounds"])
    return Counter(filter(None, found))
