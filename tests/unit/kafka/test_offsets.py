"""Where reading begins, and which log that is."""

import pytest
from eyecatch.kafka.offsets import Log, Start, start
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("held", "refused", "expected"),
    [
        (None, {}, Start(Log("id"), 7, "start")),
        ((12, Log("id")), {}, Start(Log("id"), 12, "resumed")),
        ((7, Log("id", 2)), {}, Start(Log("id", 2), 7, "resumed")),
        ((12, None), {}, Start(Log("id"), 12, "resumed")),
        ((12, Log("")), {}, Start(Log("id"), 12, "resumed")),  # the brokers learned to tell ids
        ((12, Log("before", 3)), {}, Start(Log("id"), 7, "recreated")),
        ((12, Log("before")), {"refused": True}, Start(Log("id"), 7, "recreated")),
        ((12, Log("id")), {"refused": True}, Start(Log("id", 1), 7, "cut-back")),
        ((12, Log("id", 1)), {"refused": True, "agreed": 10}, Start(Log("id", 2), 10, "cut-back")),
        ((12, Log("id", 1)), {"refused": True, "agreed": 3}, Start(Log("id", 2), 7, "cut-back")),
        ((4, Log("id", 1)), {"refused": True}, Start(Log("id", 1), 7, "expired", 3)),
        ((4, Log("id", 1)), {}, Start(Log("id", 1), 7, "expired", 3)),
    ],
)
def test_places(held: tuple[int, Log | None] | None, refused: dict[str, int], expected: Start) -> None:
    assert start("id", held, 7, **refused) == expected


def test_brokers_without_ids_tell_a_new_topic_by_its_end() -> None:
    assert start("", (12, Log("")), 0, refused=True) == Start(Log("", 1), 0, "cut-back")


def test_logs_have_names_of_their_own() -> None:
    logs = [Log("a"), Log("a", 1), Log("b"), Log("")]
    assert len({log.name("t") for log in logs} | {Log("a").name("u")}) == 5


@given(st.text(), st.integers(0, 10**6))
def test_a_note_comes_back(id: str, cuts: int) -> None:
    assert Log.parse(Log(id, cuts).note()) == Log(id, cuts)


@pytest.mark.parametrize("note", [None, "", "committed by hand", "id/", "id/x", "id/²"])
def test_notes_of_others_are_no_logs(note: str | None) -> None:
    assert Log.parse(note) is None


@given(
    st.none()
    | st.tuples(st.integers(0, 50), st.none() | st.builds(Log, st.sampled_from(["", "a", "b"]), st.integers(0, 3))),
    st.sampled_from(["", "a"]),
    st.integers(0, 50),
    st.booleans(),
)
def test_nothing_of_a_log_is_skipped_unsaid(
    held: tuple[int, Log | None] | None, id: str, first: int, refused: bool
) -> None:
    result = start(id, held, first, refused)
    assert result.offset >= first
    if held and result.why in ("resumed", "expired"):
        assert result.offset == held[0] + result.missed
