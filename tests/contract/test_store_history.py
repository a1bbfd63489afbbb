"""What every store promises of searching the history, and of pruning output apart from records."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from farhand.domain.history import CLOCK_SLACK_S, SCANNED, JobFilter, JobStanding
from farhand.domain.job import Job, JobSpec, Script
from farhand.domain.run import RunState
from farhand.errors import InvalidCursor
from farhand.ports import AddJob, AddRuns, Freed, PruneOutput, RunFilter, Store
from tests.contract.storing import (
    ERR,
    INLINE,
    OUT,
    Opened,
    add,
    agent_id,
    append,
    job,
    job_id,
    move,
    opened,
    run,
    run_id,
    the_job,
    the_run,
    told,
)

S = RunState


@pytest.fixture(params=["memory", "sqlite", "restarted"])
async def subject(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Opened]:
    async with opened(request.param, tmp_path) as subject:
        yield subject


async def found(store: Store, which: JobFilter, limit: int = 100) -> list[int]:
    """The numbers of all jobs of a search, newest first."""
    numbers: list[int] = []
    cursor = None
    while True:
        page = await store.jobs(which, cursor=cursor, limit=limit)
        numbers += [int(item.id[4:]) for item in page.items]
        if (cursor := page.next) is None:
            return numbers


def made(asked: Job, *states: RunState) -> AddJob:
    """A job whose runs, 10 n and on, stand like this; each on an agent of the same number."""
    n = int(asked.id[4:])
    numbered = enumerate(states or (S.QUEUED,))
    return AddJob(
        job=asked, runs=tuple(run(10 * n + k, job=n, of=k + 1, state=s) for k, s in numbered)
    )


SCRIPT = JobSpec(what=Script("apt-get\nUPGRADE 100%_ -y"))
JOBS = [
    made(replace(job(1), by="anna", targets="web[1-4]"), S.SUCCEEDED, S.SUCCEEDED),
    made(job(2, at=200.0, spec=SCRIPT), S.SUCCEEDED, S.FAILED),
    made(replace(job(3, at=300.0), schedule="sch_1"), S.QUEUED, S.FAILED),
    made(replace(job(4, at=400.0), rerun_of=job_id(2)), S.LOST),
    made(replace(job(5, at=500.0), rolling=True, schedule="sch_1"), S.SUCCEEDED),
]
SEARCHES: dict[str, tuple[JobFilter, list[int]]] = {
    "all": (JobFilter(), [5, 4, 3, 2, 1]),
    "by whom": (JobFilter(by="anna"), [1]),
    "by whom, in part": (JobFilter(by="ann"), []),
    "targets": (JobFilter(target="WEB["), [1]),
    "agent": (JobFilter(agent=agent_id(2)), [3, 2, 1]),
    "another agent": (JobFilter(agent=agent_id(7)), []),
    "command": (JobFilter(command="upgrade"), [2]),
    "command as it is": (JobFilter(command="100%_"), [2]),
    "no pattern": (JobFilter(command="up%e"), []),
    "running": (JobFilter(standing=JobStanding.RUNNING), [5, 3]),
    "done": (JobFilter(standing=JobStanding.DONE), [4, 2, 1]),
    "succeeded": (JobFilter(standing=JobStanding.SUCCEEDED), [1]),
    "failed": (JobFilter(standing=JobStanding.FAILED), [4, 2]),
    "since": (JobFilter(since=300.0), [5, 4, 3]),
    "until": (JobFilter(until=300.0), [2, 1]),
    "between": (JobFilter(since=200.0, until=400.0), [3, 2]),
    "schedule": (JobFilter(schedule="sch_1"), [5, 3]),
    "schedule and agent": (JobFilter(schedule="sch_1", agent=agent_id(2)), [3]),
    "rerun": (JobFilter(rerun_of=job_id(2)), [4]),
    "all at once": (
        JobFilter(by="admin", command="apt", standing=JobStanding.FAILED, agent=agent_id(1)),
        [2],
    ),
}


@pytest.mark.parametrize("name", SEARCHES)
async def test_a_search_finds_the_jobs_it_is_about(subject: Opened, name: str) -> None:
    await subject.apply(*JOBS)
    which, wanted = SEARCHES[name]
    store = await subject.look()

    assert wanted == await found(store, which)
    assert wanted == await found(store, which, limit=1)


async def test_a_job_that_tried_an_agent_again_is_found_once(subject: Opened) -> None:
    again = replace(run(90, job=5, of=1), retry_of=run_id(50))
    await subject.apply(*JOBS, AddRuns(job=job_id(5), runs=(again,), at=600.0), made(job(6)))

    assert [6, 5, 4, 3, 2, 1] == await found(await subject.look(), JobFilter(agent=agent_id(1)), 2)


async def test_a_search_that_matches_nothing_reads_a_bounded_page(subject: Opened) -> None:
    await subject.apply(*(made(job(n), S.SUCCEEDED) for n in range(1, SCANNED + 3)))
    store = await subject.look()
    nobody = JobFilter(by="nobody")
    first = await store.jobs(nobody)
    rest = await store.jobs(nobody, cursor=first.next)

    assert [] == list(first.items)
    assert first.next is not None
    assert ([], None) == (list(rest.items), rest.next)
    assert SCANNED + 2 == len(await found(store, JobFilter(until=100.1, agent=agent_id(1))))


async def test_a_search_ends_where_everything_is_older(subject: Opened) -> None:
    old = 100.0 + CLOCK_SLACK_S
    await subject.apply(
        made(job(1, at=old + 50)),
        made(job(2, at=50.0)),
        made(job(3, at=150.0)),
        made(job(4, at=old)),
    )

    assert [4] == await found(await subject.look(), JobFilter(since=old))


async def test_the_cursor_of_another_search_is_refused(subject: Opened) -> None:
    await subject.apply(*JOBS)
    store = await subject.look()
    cursor = (await store.jobs(JobFilter(by="admin"), limit=1)).next

    assert cursor is not None
    for other in (JobFilter(), JobFilter(by="anna"), JobFilter(by="admin", since=1.0)):
        with pytest.raises(InvalidCursor):
            await store.jobs(other, cursor=cursor)


async def test_runs_are_chosen_by_time(subject: Opened) -> None:
    times = [(1, 100.0), (2, 200.0), (3, 300.0)]
    await subject.apply(add(1, *(replace(run(n), created_at=at) for n, at in times)))
    store = await subject.look()
    asked = {
        "since": RunFilter(since=200.0),
        "until": RunFilter(until=200.0),
        "between": RunFilter(since=150.0, until=300.0),
        "of an agent": RunFilter(agent=agent_id(1), until=300.0),
        "of a job": RunFilter(job=job_id(1), since=200.0),
        "in a state": RunFilter(states=frozenset({S.QUEUED}), since=200.0),
    }
    numbers: dict[str, list[int]] = {}
    for name, which in asked.items():
        numbers[name], cursor = [], None
        while True:
            page = await store.runs(which, cursor=cursor, limit=1)
            numbers[name] += [int(item.id[4:]) for item in page.items]
            if (cursor := page.next) is None:
                break

    assert numbers == {
        "since": [3, 2],
        "until": [1],
        "between": [2],
        "of an agent": [2, 1],
        "of a job": [2, 3],
        "in a state": [3, 2],
    }


# --- output -------------------------------------------------------------------------------------


async def printed(subject: Opened, n: int, data: bytes, *, at: float = 100.0) -> None:
    """A job that printed *data* and failed."""
    await subject.apply(
        add(n, run(n, job=n), at=at), move(n, S.SENT), append(data, n=n), move(n, S.FAILED)
    )


async def test_old_output_is_pruned_and_the_records_stay(subject: Opened) -> None:
    await printed(subject, 1, b"x" * 2 * INLINE)
    await printed(subject, 2, b"y" * 2 * INLINE, at=200.0)
    events = await told(await subject.look())
    outcomes = await subject.apply(PruneOutput(before=150.0), PruneOutput(before=150.0))
    store = await subject.look()

    assert [Freed(1, 2 * INLINE), Freed(0, 0)] == outcomes
    assert b"" == await store.output(run_id(1), OUT, offset=0, limit=1000)
    assert {OUT: 0, ERR: 0} == await store.offsets(run_id(1))
    assert (await the_run(store)).output_pruned
    assert {S.FAILED: 1} == (await the_job(store)).counts
    assert events == await told(store)
    assert not (await the_run(store, 2)).output_pruned
    assert 2 * INLINE == len(await store.output(run_id(2), OUT, offset=0, limit=1000))


async def test_the_oldest_output_goes_until_the_rest_is_below_the_bound(subject: Opened) -> None:
    for n, at in ((1, 300.0), (2, 100.0), (3, 200.0)):
        await printed(subject, n, b"x" * 100, at=at)
    outcomes = await subject.apply(PruneOutput(before=0.0, most_bytes=150))
    store = await subject.look()

    assert [Freed(2, 200)] == outcomes
    assert [False, True, True] == [(await the_run(store, n)).output_pruned for n in (1, 2, 3)]
    assert [Freed(0, 0)] == await subject.apply(PruneOutput(before=0.0, most_bytes=100))
    assert [Freed(1, 100)] == await subject.apply(PruneOutput(before=0.0, most_bytes=0))


async def test_output_is_pruned_in_bites(subject: Opened) -> None:
    runs = [run(n, state=S.RUNNING) for n in range(1, 6)]
    await subject.apply(add(1, *runs), *(append(b"abc", n=n) for n in range(1, 6)))
    await subject.apply(*(move(n, S.FAILED) for n in range(1, 6)))
    bite = PruneOutput(before=1e9, limit=2)

    assert [Freed(2, 6), Freed(2, 6), Freed(1, 3), Freed(0, 0)] == await subject.apply(*4 * [bite])
    assert [Freed(0, 0)] == await subject.apply(bite)


async def test_what_is_still_open_keeps_its_output(subject: Opened) -> None:
    await subject.apply(
        add(1, run(1), run(2)), move(1, S.SENT), append(b"x" * 2 * INLINE), move(1, S.FAILED)
    )
    prune = PruneOutput(before=1e9, most_bytes=0)

    assert [Freed(0, 0)] == await subject.apply(prune)
    await subject.apply(move(2, S.REFUSED))
    assert [Freed(1, 2 * INLINE)] == await subject.apply(prune)


async def test_a_lost_run_keeps_its_output_until_it_ends(subject: Opened) -> None:
    await subject.apply(add(1, run(1), run(2)))
    for n in (1, 2):
        await subject.apply(move(n, S.SENT), move(n, S.RUNNING), append(b"abc", n=n))
    await subject.apply(move(1, S.FAILED), move(2, S.LOST))
    prune = PruneOutput(before=1e9, most_bytes=0)

    assert [Freed(1, 3), Freed(0, 0)] == await subject.apply(prune, prune)
    assert b"abc" == await (await subject.look()).output(run_id(2), OUT, offset=0, limit=9)
    await subject.apply(move(2, S.RUNNING), append(b"def", n=2, offset=3), move(2, S.SUCCEEDED))
    assert [Freed(1, 6)] == await subject.apply(prune)


async def test_a_run_that_printed_nothing_has_nothing_pruned(subject: Opened) -> None:
    await printed(subject, 1, b"")

    assert [Freed(0, 0)] == await subject.apply(PruneOutput(before=1e9, most_bytes=0))
    assert not (await the_run(await subject.look())).output_pruned
