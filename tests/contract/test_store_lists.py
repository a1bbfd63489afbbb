"""What every store promises of its lists: order, filters, pages and cursors."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from farhand.domain.run import RunState
from farhand.errors import InvalidCursor
from farhand.ports import JoinAgent, Page, RunFilter, Store
from tests.contract.storing import Opened, add, agent, agent_id, job_id, move, opened, run

S = RunState
Listing = Callable[[str | None, int], Awaitable[Page[Any]]]


@pytest.fixture(params=["memory", "sqlite", "restarted"])
async def subject(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Opened]:
    async with opened(request.param, tmp_path) as subject:
        yield subject


def runs_of(store: Store, which: RunFilter) -> Listing:
    return lambda cursor, limit: store.runs(which, cursor=cursor, limit=limit)


async def numbers(listing: Listing, limit: int) -> list[list[int]]:
    """Read a list to its end; return the numbers in the ids, page by page."""
    pages, cursor = [], None
    while True:
        page = await listing(cursor, limit)
        pages.append([int(item.id[4:]) for item in page.items])
        cursor = page.next
        if cursor is None:
            return pages


async def test_jobs_are_listed_newest_first(subject: Opened) -> None:
    await subject.apply(*(add(n, run(n, job=n)) for n in (2, 1, 3, 5, 4)))
    store = await subject.look()
    pages = await numbers(lambda cursor, limit: store.jobs(cursor=cursor, limit=limit), 2)

    assert [[4, 5], [3, 1], [2]] == pages


async def test_agents_are_listed_by_id(subject: Opened) -> None:
    await subject.apply(*(JoinAgent(agent=agent(n)) for n in (3, 1, 2, 4)))
    store = await subject.look()
    pages = await numbers(lambda cursor, limit: store.agents(cursor=cursor, limit=limit), 2)

    assert [[1, 2], [3, 4]] == pages


async def test_a_page_that_fits_has_no_cursor(subject: Opened) -> None:
    await subject.apply(add(1, run(1), run(2)))
    store = await subject.look()

    assert (await store.runs(RunFilter(job=job_id()), limit=2)).next is None
    assert (await store.runs(RunFilter(), limit=2)).next is None


async def test_runs_are_chosen_by_job_agent_and_state(subject: Opened) -> None:
    await subject.apply(
        add(1, run(9, of=1), run(2, of=2), run(5, of=1)),
        add(2, run(4, job=2, of=2), run(3, job=2, of=1)),
    )
    await subject.apply(move(5, S.SENT), move(4, S.SENT), move(3, S.REFUSED))
    store = await subject.look()
    asked = {
        "all": RunFilter(),
        "job": RunFilter(job=job_id(1)),
        "agent": RunFilter(agent=agent_id(1)),
        "job and agent": RunFilter(job=job_id(1), agent=agent_id(1)),
        "one state": RunFilter(states=frozenset({S.SENT})),
        "states": RunFilter(states=frozenset({S.SENT, S.REFUSED})),
        "agent and states": RunFilter(agent=agent_id(1), states=frozenset({S.SENT, S.QUEUED})),
        "job and state": RunFilter(job=job_id(2), states=frozenset({S.REFUSED})),
        "no state": RunFilter(states=frozenset()),
        "another job": RunFilter(job=job_id(7)),
        "another agent": RunFilter(agent=agent_id(7)),
    }
    found = {name: await numbers(runs_of(store, which), 2) for name, which in asked.items()}

    assert found == {
        "all": [[3, 4], [5, 2], [9]],
        "job": [[9, 2], [5]],
        "agent": [[3, 5], [9]],
        "job and agent": [[9, 5]],
        "one state": [[4, 5]],
        "states": [[3, 4], [5]],
        "agent and states": [[5, 9]],
        "job and state": [[3]],
        "no state": [[]],
        "another job": [[]],
        "another agent": [[]],
    }


async def test_a_list_goes_on_behind_what_moved_meanwhile(subject: Opened) -> None:
    await subject.apply(add(1, *(run(n) for n in range(1, 6))))
    store = await subject.look()
    queued = RunFilter(states=frozenset({S.QUEUED}))
    first = await store.runs(queued, limit=2)
    await subject.apply(move(5, S.SENT), add(2, run(6, job=2)))
    store = await subject.look()
    rest = await store.runs(queued, cursor=first.next, limit=9)

    assert [3, 2, 1] == [int(found.id[4:]) for found in rest.items]


RUBBISH = ["", ".", "1", "x.y", "1.00000000", "9" * 400, "\x00", "ü.\ud800", "-1.e2596f47"]


@pytest.mark.parametrize("cursor", RUBBISH)
async def test_rubbish_is_no_cursor(subject: Opened, cursor: str) -> None:
    store = await subject.look()
    for listing in (
        store.jobs(cursor=cursor),
        store.runs(RunFilter(), cursor=cursor),
        store.runs(RunFilter(job=job_id()), cursor=cursor),
        store.agents(cursor=cursor),
        store.audit(cursor=cursor),
    ):
        with pytest.raises(InvalidCursor):
            await listing


async def test_a_cursor_belongs_to_one_list(subject: Opened) -> None:
    await subject.apply(add(1, run(1), run(2)), add(2, run(3, job=2), run(4, job=2)))
    store = await subject.look()
    cursor = (await store.runs(RunFilter(job=job_id(1)), limit=1)).next

    for which in (RunFilter(), RunFilter(job=job_id(2))):
        with pytest.raises(InvalidCursor):
            await store.runs(which, cursor=cursor)
    with pytest.raises(InvalidCursor):
        await store.jobs(cursor=cursor)
