"""What every store keeps of documents, and of jobs that are rolling."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import pytest

from farhand.domain.run import RunState as S
from farhand.errors import InvalidCursor
from farhand.ports import (
    Added,
    AddJob,
    AddRuns,
    CancelJob,
    Done,
    Drop,
    EndRollout,
    Full,
    Lost,
    Prune,
    Put,
)
from tests.contract.storing import Opened, add, job, job_id, move, opened, run, the_job, told


@dataclass(frozen=True, slots=True, kw_only=True)
class Paper:
    KIND: ClassVar[str] = "paper"

    id: str
    text: str = ""
    version: int = 0
    due_at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Other(Paper):
    KIND: ClassVar[str] = "other"


@pytest.fixture(params=["memory", "sqlite", "restarted"])
async def subject(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Opened]:
    async with opened(request.param, tmp_path) as found:
        yield found


# --- documents ----------------------------------------------------------------------------


async def test_a_document_is_read_as_it_was_written(subject: Opened) -> None:
    outcomes = await subject.apply(Put(Paper(id="a", text="ä", due_at=5.0)))
    store = await subject.look()

    assert [Done()] == outcomes
    assert Paper(id="a", text="ä", version=1, due_at=5.0) == await store.document(Paper, "a")
    assert await store.document(Other, "a") is None
    assert await store.document(Paper, "b") is None


async def test_of_two_writers_the_second_is_told(subject: Opened) -> None:
    first = Paper(id="a", text="first")
    outcomes = await subject.apply(
        Put(first),
        Put(replace(first, text="as if there were none")),
        Put(replace(first, text="next", version=1)),
        Put(replace(first, text="late", version=1)),
        Put(Paper(id="b", version=4)),
    )
    store = await subject.look()

    assert [Done(), Lost(), Done(), Lost(), Lost()] == outcomes
    assert Paper(id="a", text="next", version=2) == await store.document(Paper, "a")
    assert await store.document(Paper, "b") is None


async def test_a_dropped_document_is_gone_and_can_be_made_again(subject: Opened) -> None:
    outcomes = await subject.apply(
        Put(Paper(id="a")),
        Put(Other(id="a")),
        Drop(Paper, "a"),
        Drop(Paper, "a"),
        Put(Paper(id="a", text="new")),
    )
    store = await subject.look()

    assert [Done(), Done(), Done(), Lost(), Done()] == outcomes
    assert Paper(id="a", text="new", version=1) == await store.document(Paper, "a")
    assert Other(id="a", version=1) == await store.document(Other, "a")


async def test_documents_are_listed_by_id_in_pages(subject: Opened) -> None:
    await subject.apply(*[Put(Paper(id=id_)) for id_ in "cab"], Put(Other(id="aa")))
    store = await subject.look()
    first = await store.documents(Paper, limit=2)
    rest = await store.documents(Paper, cursor=first.next, limit=2)

    assert ["a", "b"] == [paper.id for paper in first.items]
    assert (["c"], None) == ([paper.id for paper in rest.items], rest.next)
    with pytest.raises(InvalidCursor):
        await store.documents(Other, cursor=first.next)


async def test_what_is_due_comes_first_due_first(subject: Opened) -> None:
    papers = [Paper(id="a", due_at=3.0), Paper(id="b", due_at=1.0), Paper(id="c", due_at=4.0)]
    await subject.apply(*map(Put, papers), Put(Paper(id="d")), Put(Other(id="e", due_at=0.0)))
    store = await subject.look()

    assert ["b", "a"] == [paper.id for paper in await store.documents_due(Paper, 3.0)]
    assert ["b"] == [paper.id for paper in await store.documents_due(Paper, 9.0, limit=1)]


async def test_documents_of_a_job_are_written_if_it_is(subject: Opened) -> None:
    refused = replace(add(2), open_runs=1, documents=(Paper(id="no"),))
    outcomes = await subject.apply(replace(add(1), documents=(Paper(id="yes"),)), refused)
    store = await subject.look()

    assert [Added(), Full(1)] == outcomes
    assert Paper(id="yes", version=1) == await store.document(Paper, "yes")
    assert await store.document(Paper, "no") is None


# --- jobs that are rolling ----------------------------------------------------------------


def rolling(n: int = 1, state: S = S.REFUSED) -> AddJob:
    return replace(add(n, run(n, job=n, state=state)), job=replace(job(n), rolling=True))


async def test_a_rolling_job_is_waited_for_while_none_of_its_runs_is(subject: Opened) -> None:
    outcomes = await subject.apply(rolling())
    store = await subject.look()

    assert [Added()] == outcomes
    assert 1 == await store.waiting(job_id())
    assert (True, 1) == ((await the_job(store)).rolling, (await the_job(store)).open)
    assert [] == await told(store)

    outcomes = await subject.apply(EndRollout(job=job_id(), at=300.0))
    again = await subject.apply(EndRollout(job=job_id(), at=301.0))
    store = await subject.look()

    assert [Done(), Lost()] == [*outcomes, *again]
    assert 0 == await store.waiting(job_id())
    assert not (await the_job(store)).rolling
    assert ["end"] == await told(store)


async def test_a_job_that_stops_rolling_ends_with_its_last_run(subject: Opened) -> None:
    await subject.apply(
        rolling(state=S.QUEUED),
        EndRollout(job=job_id(), at=300.0),
        move(1, S.EXPIRED),
    )

    assert ["expired", "end"] == await told(await subject.look())


async def test_runs_are_added_to_a_job_that_is_rolling_once(subject: Opened) -> None:
    more = AddRuns(job=job_id(), runs=(run(2), replace(run(3), retry_of=run(1).id, wave=2)), at=9.0)
    outcomes = await subject.apply(rolling(), more, more)
    store = await subject.look()

    assert [Added()] * 3 == outcomes
    assert {S.REFUSED: 1, S.QUEUED: 2} == (await the_job(store)).counts
    assert ["queued", "queued"] == await told(store)
    third = await store.run(run(3).id)
    assert third is not None
    assert (run(1).id, 2) == (third.retry_of, third.wave)


async def test_no_run_is_added_to_a_job_that_is_over_or_cancelled_or_unknown(
    subject: Opened,
) -> None:
    def more(n: int) -> AddRuns:
        return AddRuns(job=job_id(n), runs=(run(n + 10, job=n),), at=9.0)

    outcomes = await subject.apply(
        add(1),
        more(1),
        rolling(2),
        EndRollout(job=job_id(2), at=1.0),
        more(2),
        rolling(3),
        CancelJob(job=job_id(3), at=1.0),
        more(3),
        more(4),
        EndRollout(job=job_id(4), at=1.0),
    )

    lost = [n for n, outcome in enumerate(outcomes) if outcome == Lost()]
    assert [1, 4, 7, 8, 9] == lost


async def test_a_rolling_job_is_not_pruned(subject: Opened) -> None:
    await subject.apply(rolling(), Prune(before=1e9, at=1.0))

    assert await (await subject.look()).job(job_id()) is not None


async def test_what_made_a_job_is_kept_with_it(subject: Opened) -> None:
    made = replace(job(), rerun_of=job_id(9), schedule="sch_1")
    await subject.apply(replace(add(1), job=made))
    found = await the_job(await subject.look())

    assert (job_id(9), "sch_1") == (found.rerun_of, found.schedule)
