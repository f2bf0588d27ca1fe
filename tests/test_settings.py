"""Settings refuse what is wrong by its name, and go to the columns of a row and back."""

import pickle
from dataclasses import FrozenInstanceError
from typing import Literal

import pytest

from superpos.settings import Count, NotNegative, Positive, Share, Whole, build, defaults, flat, one_of, settings


@settings
class Reading:
    n_codes: Count | None = None
    l1: NotNegative = 0.1
    loss: Literal["mse", "l1_sum"] = "mse"


HEAVY = Reading(l1=2.0)


@settings
class Run:
    seed: Whole
    lr: Positive = 1e-3
    share: Share = 0.5
    milestones: tuple[int, ...] = ()
    width: int | float = 1
    reading: Reading = HEAVY

    def __post_init__(self) -> None:
        if self.seed == 13:
            raise ValueError("seed must not be 13")


@settings
class Outer:
    n_rows: Count
    run: Run
    note: str = ""


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"seed": -1}, "seed must be greater than or equal to 0, got -1"),
        ({"seed": 1.5}, r"seed must be a valid integer, got 1\.5"),
        ({"seed": True}, "seed must be a valid integer, got True"),
        ({"seed": 13}, "seed must not be 13"),
        ({"seed": 0, "lr": 0}, "lr must be greater than 0, got 0"),
        ({"seed": 0, "lr": float("inf")}, "lr must be a finite number, got inf"),
        ({"seed": 0, "lr": "0.1"}, r"lr must be a valid number, got '0\.1'"),
        ({"seed": 0, "share": 1.1}, r"share must be less than or equal to 1, got 1\.1"),
        ({"seed": 0, "milestones": [1]}, r"milestones must be a valid tuple, got \[1\]"),
        ({"seed": 0, "reading": 3}, "reading must be .*Reading, got 3"),
    ],
)
def test_a_wrong_value_is_refused_by_its_name(values, message):
    with pytest.raises(ValueError, match=message):
        Run(**values)


def test_a_choice_names_what_there_is():
    with pytest.raises(ValueError, match="loss must be 'mse' or 'l1_sum', got 'l2'"):
        Reading(loss="l2")
    with pytest.raises(ValueError, match="kind must be one of a, b, got 'c'"):
        one_of("kind", "c", ("a", "b"))
    one_of("kind", "a", ("a", "b"))


@pytest.mark.parametrize("make", [lambda: Run(seed=0, sead=1), lambda: Run(seed=0).but(sead=1)])
def test_an_unknown_field_is_named_beside_those_there_are(make):
    with pytest.raises(TypeError, match="Run has no 'sead'; it has seed, lr, share, milestones, width, reading"):
        make()


def test_whole_numbers_may_stand_for_floats_and_nothing_else_is_converted():
    run = Run(seed=0, lr=2, width=3)
    assert [repr(value) for value in (run.lr, run.width, run.but(width=0.5).width)] == ["2.0", "3", "0.5"]


def test_columns_and_settings_are_inverse():
    outer = Outer(n_rows=5, run=Run(seed=3, lr=0.5, milestones=(2, 4), reading=Reading(7, loss="l1_sum")), note="x")
    columns = flat(outer)
    assert list(columns) == ["n_rows", "seed", "lr", "share", "milestones", "width", "n_codes", "l1", "loss", "note"]
    assert (columns["lr"], columns["n_codes"], columns["loss"]) == (0.5, 7, "l1_sum")
    assert build(Outer, **columns) == outer
    assert flat({"a": 1}) == {"a": 1} == build(dict, a=1)


def test_settings_that_are_held_start_from_the_default_of_their_holder():
    assert build(Run, seed=1) == Run(seed=1) == Run(1, reading=HEAVY)
    assert build(Run, seed=1, n_codes=3).reading == HEAVY.but(n_codes=3)
    assert build(Run, seed=1, reading=Reading()).reading.l1 == 0.1
    known = {"lr": 1e-3, "share": 0.5, "milestones": (), "width": 1, "n_codes": None, "l1": 2.0, "loss": "mse"}
    assert defaults(Run) == known
    assert defaults(Outer) == {**known, "note": ""}


def test_but_reaches_the_fields_of_settings_that_are_held():
    outer = Outer(n_rows=5, run=Run(seed=3))
    other = outer.but(loss="l1_sum", lr=0.25, n_rows=6)
    assert (other.run.reading.loss, other.run.lr, other.n_rows, other.run.seed) == ("l1_sum", 0.25, 6, 3)
    assert (outer.run.reading.loss, outer.run.lr, outer.n_rows) == ("mse", 1e-3, 5)
    with pytest.raises(ValueError, match="lr must be greater than 0"):
        outer.but(lr=-1.0)


def test_they_are_frozen_hashable_and_pickle():
    run = Run(seed=1)
    with pytest.raises(FrozenInstanceError):
        run.seed = 2
    assert {run: "kept"}[Run(seed=1)] == "kept"
    assert pickle.loads(pickle.dumps(run)) == run


def test_a_name_that_two_settings_share_is_refused():
    """In a row both would lie under one column, and one would be lost."""
    with pytest.raises(TypeError, match="Twice and settings that it holds share lr"):

        @settings
        class Twice:
            lr: float
            inner: Inner

    assert "lr" not in defaults(Inner)


@settings
class Inner:
    lr: float
