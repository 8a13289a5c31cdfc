"""Failures of jobs: from an error to what is stored, and back to an error."""

import pytest
from eyecatch.core import errors
from eyecatch.core.failures import BUDGET_WAIT_S, GONE, KINDS, Failure


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (errors.InvalidInput.of("steps", 0, "1 to 100"), "invalid-input"),
        (errors.NotFound("item", "a"), "not-found"),
        (errors.NotReady("no designer"), "not-ready"),
        (errors.StoreFull("no room"), "unavailable"),
        (errors.Cancelled("gone"), "cancelled"),
        (errors.InternalError("a defect"), "internal"),
        (errors.Conflict("taken"), "internal"),
    ],
)
def test_the_kinds_have_names_that_stay(error: errors.EyecatchError, kind: str) -> None:
    assert Failure.of(error).kind == kind


@pytest.mark.parametrize("type", [type for type, _ in KINDS if type is not errors.StoreError])
def test_an_error_comes_back_as_what_it_was(type: type[errors.EyecatchError]) -> None:
    argument = {errors.InvalidInput: [errors.Violation("a", "b", "c")]}.get(type, "x")
    error = type("product", "x", "one") if type is errors.NotFound else type(argument)
    again = Failure.of(error).error()
    assert isinstance(again, type)
    assert getattr(again, "violations", None) == getattr(error, "violations", None)
    assert getattr(again, "id", None) == getattr(error, "id", None)


def test_a_failure_without_a_kind_means_what_its_text_says() -> None:
    assert isinstance(Failure("the caller went away").error(), errors.Cancelled)
    over = Failure("over budget: 3 covers an hour").error()
    assert isinstance(over, errors.Overloaded)
    assert over.retry_after_s == BUDGET_WAIT_S
    other = Failure("anything else").error()
    assert isinstance(other, errors.Unavailable)
    assert str(other) == "generation failed: anything else"


def test_a_caller_who_went_away_is_no_failure_of_the_server() -> None:
    assert isinstance(GONE.error(), errors.Cancelled)
