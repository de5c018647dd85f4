"""The signature is the schema."""

from typing import Annotated, Literal

import pytest
from msgspec import Meta

from sweepstake.base.errors import UserError
from sweepstake.base.registry import Registry
from sweepstake.pieces import REGISTRIES


@pytest.fixture
def score() -> Registry:
    made = Registry("score", by_layer=True, offers={"w": "weights", "alive": "mask"})

    @made(version=3, neutral={"weight": 1.0}, granularity="weight")
    def grown(w, *, weight: float = 1.0, kind: Literal["a", "b"] = "a", at: list[int] = [1], p: Annotated[float, Meta(gt=0, le=1)]):  # noqa: B006
        """Keep what grew (Somebody 2020).

        More of it.
        """
        return w * weight

    return made


def problems(call) -> str:
    with pytest.raises(UserError) as caught:
        call()
    return "\n".join(caught.value.problems)


def test_the_signature_says_what_a_piece_takes_and_its_options(score: Registry):
    piece = score.get("grown")
    assert piece.takes == ("w",)
    assert list(piece.options) == ["weight", "kind", "at", "p"]
    assert (piece.options["weight"].default, piece.options["p"].required, piece.options["at"].takes_a_list()) == (1.0, True, True)
    assert (piece.version, piece.neutral, piece.traits) == (3, {"weight": 1.0}, {"granularity": "weight"})
    assert piece.claim == "Keep what grew (Somebody 2020)."


def test_only_what_is_taken_is_computed(score: Registry):
    def never():
        raise AssertionError("nobody takes alive")

    assert score.get("grown")({"w": lambda: 3.0, "alive": never}, {"weight": 2.0, "p": 1.0}) == 6.0


def test_options_are_resolved_to_their_types_and_defaults(score: Registry):
    assert score.resolve("grown", {"p": 1, "weight": 2}, "here") == {"weight": 2.0, "kind": "a", "at": [1], "p": 1.0}
    assert type(score.resolve("grown", {"p": 1}, "here")["p"]) is float


def test_every_wrong_option_is_told_at_once(score: Registry):
    said = problems(lambda: score.resolve("grown", {"wieght": 2, "kind": "c", "at": ["x"]}, "s.toml: criterion"))
    assert said == (
        's.toml: criterion: wieght: no option of grown of that name.\n'
        '  Did you mean "weight"?  Known: at, kind, p, weight.\n'
        '  See `sweepstake pieces score`.\n'
        's.toml: criterion: kind = "c": expected "a" or "b".\n'
        's.toml: criterion: at = ["x"]: expected a list, each a whole number.\n'
        's.toml: criterion: grown needs p. Say score = {name = "grown", p = ...}.')


@pytest.mark.parametrize("value", [True, "0.5", 0, 1.5, float("inf"), float("nan"), None, {"fc1": 2.0}])
def test_an_option_out_of_its_type_or_range_is_refused(score: Registry, value):
    assert "here: p" in problems(lambda: score.resolve("grown", {"p": value}, "here"))


def test_a_scalar_option_may_be_a_table_by_layer(score: Registry):
    piece = score.get("grown")
    options = score.resolve("grown", {"p": {"fc2": 0.5, "fc1": 1}, "weight": {"fc1": 3}}, "here")
    assert options["p"] == {"fc1": 1.0, "fc2": 0.5}
    assert piece.for_layer("fc1", options) == {"weight": 3.0, "kind": "a", "at": [1], "p": 1.0}
    assert piece.for_layer("fc2", options)["weight"] == 1.0  # Not named: the default.


def test_a_name_is_taken_once(score: Registry):
    def grown(w):
        """Again."""

    assert "that name is taken by" in problems(lambda: score(grown))


def test_an_alias_names_the_same_piece_and_never_reaches_a_cell(score: Registry):
    @score(aliases=("total",))
    def whole(w):
        """Everything (Somebody 2020)."""
        return w

    assert score.get("total") is score.get("whole")
    assert score.ref("total", {}, "here").name == "whole"
    assert list(score.pieces) == ["grown", "whole"], "an alias is no piece of its own"
    assert 'Did you mean "total"?  Known: grown, total, whole.' in problems(lambda: score.get("totl"))


def test_no_two_pieces_answer_to_one_name(score: Registry):
    def total(w):
        """Another (Somebody 2020)."""

    assert 'score total: the alias "grown" is taken by' in problems(lambda: score(aliases=("grown",))(total))
    assert list(score.pieces) == ["grown"]
    score(aliases=("whole",))(total)

    def whole(w):
        """A third (Somebody 2020)."""

    assert "score whole: that name is taken by" in problems(lambda: score(whole))


def test_what_the_engine_does_not_offer_is_refused(score: Registry):
    def odd(weights):
        """Takes what nobody offers."""

    said = problems(lambda: score(odd))
    assert "takes weights: no offer to a score of that name." in said
    assert "Known: alive, w." in said
    assert "odd" not in score.pieces


def test_args_kwargs_a_missing_docstring_and_an_untyped_option_are_refused(score: Registry):
    def args(*w):
        """Many."""

    def kwargs(w, **more):
        """More."""

    def silent(w):
        pass

    def untyped(w, *, k=1):
        """No type."""

    def misdefault(w, *, k: int = 0.5):  # pyright: ignore[reportArgumentType]
        """A default that is not of its type."""

    def tensor(w, *, k: Registry = None):  # pyright: ignore[reportArgumentType]
        """A type no study file can say."""

    def unneutral(w):
        """Neutral names nothing."""

    assert "the signature is the schema" in problems(lambda: score(args))
    assert "the signature is the schema" in problems(lambda: score(kwargs))
    assert "has no docstring" in problems(lambda: score(silent))
    assert "option k has no type" in problems(lambda: score(untyped))
    assert "k = 0.5: expected a whole number" in problems(lambda: score(misdefault))
    assert "k" in problems(lambda: score(tensor))
    assert "not one of its options" in problems(lambda: score(neutral={"k": 1})(unneutral))
    assert list(score.pieces) == ["grown"]


def test_every_built_in_piece_says_its_claim_in_one_line_and_gives_its_source():
    for registry in REGISTRIES.values():
        for piece in registry.pieces.values():
            assert piece.claim.endswith((".", ")")), piece.name
            assert len(piece.claim) < 140, piece.name
            for option in piece.options.values():
                assert option.type is not None
