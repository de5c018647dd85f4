"""Of what a kept fraction is, in words: everything is counted, or named as not pruned."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Account = tuple[int, Mapping[str, Mapping[str, Any]]]
"""The weights of all layers that can be pruned, and what of the network is not."""


def told(account: Account) -> str:
    """Of what a kept fraction is, as one account says it.

    `of the 266,200 weights in its layers; neither counted nor pruned: lstm.weight_ih_l0 12,288 (LSTM), ...`.
    """
    weights, unpruned = account
    inside, outside = ({name: each for name, each in unpruned.items() if each["counted"] == counted}
                       for counted in (True, False))
    parts = [f"of the {weights:,} weights in its layers"]
    parts += [f"counted, but never pruned: {_listed(inside)}"] if inside else []
    parts += [f"neither counted nor pruned: {_listed(outside)}"] if outside else []
    return "; ".join(parts)


def _listed(tensors: Mapping[str, Mapping[str, Any]]) -> str:
    return ", ".join(f"{name} {each['size']:,}{each['why'] and ' (' + each['why'] + ')'}"
                     for name, each in tensors.items())


def has_tensors(account: Account) -> bool:
    """Whether more than vectors goes unpruned."""
    return any(each["why"] for each in account[1].values())


def accounts(results: Iterable[Mapping[str, Any]], axes: Sequence[str]) -> list[tuple[str, Account]]:
    """Each account among results, with the labels that its cells share and others do not; results of old carry none."""
    found: list[tuple[Account, list[Mapping[str, Any]]]] = []
    for result in results:
        record = next((record for record in result["rounds"] if "unpruned" in record), None)
        if record is None:
            continue
        account = sum(record["size_by_layer"].values()), record["unpruned"]
        members = next((members for known, members in found if known == account), None)
        if members is None:
            found.append((account, [result["labels"]]))
        else:
            members.append(result["labels"])
    everyone = [labels for _, members in found for labels in members]
    telling = [axis for axis in axes if not _one(everyone, axis)]
    return [(", ".join(str(members[0][axis]) for axis in telling if _one(members, axis)), account)
            for account, members in found]


def _one(members: Sequence[Mapping[str, Any]], axis: str) -> bool:
    return len({str(labels[axis]) for labels in members}) == 1


def lines(results: Iterable[Mapping[str, Any]], axes: Sequence[str], every: bool = True) -> list[str]:
    """A line an account, with whom it is of where there are several.

    Unless `every`, only of those that leave more than vectors unpruned.
    """
    said = accounts(results, axes)
    return [f"Weights remaining{f' ({who})' if who and len(said) > 1 else ''} are {told(account)}."
            for who, account in said if every or has_tensors(account)]
