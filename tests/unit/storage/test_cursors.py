import pytest
from hypothesis import given
from hypothesis import strategies as st

from farhand.domain.ids import AgentId, JobId
from farhand.domain.run import RunState
from farhand.errors import InvalidCursor
from farhand.ports import RunFilter
from farhand.storage.cursors import cursor_of, listing_of, number_of, place_of


@given(st.text(), st.from_regex(r"[0-9a-z_]{1,40}", fullmatch=True))
def test_a_cursor_gives_its_place_back(listing: str, place: str) -> None:
    assert place == place_of(listing, cursor_of(listing, place))


@given(st.text())
def test_any_text_is_refused_that_was_not_made_by_the_list(text: str) -> None:
    with pytest.raises(InvalidCursor):
        number_of("jobs", text)


def test_a_cursor_that_was_changed_is_refused() -> None:
    cursor = cursor_of("jobs", "17")

    with pytest.raises(InvalidCursor):
        place_of("jobs", cursor.replace("17", "18"))
    with pytest.raises(InvalidCursor):
        place_of("runs", cursor)


def test_every_filter_is_a_list_of_its_own() -> None:
    sent, queued = RunState.SENT, RunState.QUEUED
    filters = [
        RunFilter(),
        RunFilter(job=JobId("a")),
        RunFilter(agent=AgentId("a")),
        RunFilter(states=frozenset()),
        RunFilter(states=frozenset({sent})),
        RunFilter(states=frozenset({sent, queued})),
    ]

    assert len(filters) == len(set(map(listing_of, filters)))
    assert listing_of(filters[-1]) == listing_of(RunFilter(states=frozenset({queued, sent})))
