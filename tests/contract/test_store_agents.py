"""What every store promises of agents, of what is due, and of the audit."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from farhand.domain.agent import Agent, Liveness
from farhand.domain.job import Argv, JobSpec
from farhand.domain.run import RunState, Why
from farhand.ports import (
    AddJob,
    Clamped,
    ClampTimes,
    Done,
    EditAgent,
    Fenced,
    JoinAgent,
    Lost,
    Record,
    RemoveAgent,
    SetLiveness,
)
from farhand.ports import (
    Opened as SessionOpened,
)
from tests.contract.storing import (
    Opened,
    add,
    agent,
    agent_id,
    append,
    identity,
    job,
    join,
    move,
    opened,
    run,
    run_id,
    the_agent,
    the_job,
    the_run,
    told,
)

S = RunState


@pytest.fixture(params=["memory", "sqlite", "restarted"])
async def subject(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Opened]:
    async with opened(request.param, tmp_path) as subject:
        yield subject


async def test_an_agent_comes_back_as_it_joined(subject: Opened) -> None:
    (joined,) = await subject.apply(JoinAgent(agent=agent()))
    store = await subject.look()

    assert Done() == joined
    assert agent() == await store.agent(agent_id())
    assert await store.agent(agent_id(2)) is None


async def test_joining_twice_changes_nothing(subject: Opened) -> None:
    joined, session = join()
    outcomes = await subject.apply(joined, session, joined)
    store = await subject.look()

    assert [Done(), SessionOpened(1), Done()] == outcomes
    assert 1 == (await the_agent(store)).epoch


async def test_each_session_has_the_next_epoch(subject: Opened) -> None:
    joined, session = join()
    await subject.apply(joined, session)
    await subject.look()
    renamed = replace(session, identity=identity("db-1"), controller="there", at=60.0)
    outcomes = await subject.apply(renamed, replace(session, agent=agent_id(9)))
    store = await subject.look()

    assert [SessionOpened(2), Lost()] == outcomes
    assert await the_agent(store) == Agent(
        id=agent_id(),
        identity=identity("db-1"),
        liveness=Liveness.ONLINE,
        epoch=2,
        controller="there",
        joined_at=1.0,
        last_seen_at=60.0,
    )


async def test_only_the_newest_session_tells_of_liveness(subject: Opened) -> None:
    joined, session = join()
    await subject.apply(joined, session, session)
    suspect = SetLiveness(agent=agent_id(), epoch=2, liveness=Liveness.SUSPECT, at=70.0)
    outcomes = await subject.apply(
        replace(suspect, epoch=1),
        suspect,
        replace(suspect, at=60.0),
        replace(suspect, agent=agent_id(9)),
    )
    found = await the_agent(await subject.look())

    assert [Fenced(), Done(), Done(), Fenced()] == outcomes
    assert (Liveness.SUSPECT, 70.0) == (found.liveness, found.last_seen_at)


async def test_an_operator_edits_and_the_agent_cannot_undo_it(subject: Opened) -> None:
    joined, session = join()
    await subject.apply(joined, session)
    edit = EditAgent(agent=agent_id(), name="front", labels={"role": None, "a": "1"}, drained=True)
    outcomes = await subject.apply(
        edit,
        EditAgent(agent=agent_id(), labels={"b": "2"}),
        session,
        replace(edit, agent=agent_id(9)),
    )
    found = await the_agent(await subject.look())
    await subject.apply(EditAgent(agent=agent_id(), unname=True, drained=False))
    unnamed = await the_agent(await subject.look())

    assert [Done(), Done(), SessionOpened(2), Lost()] == outcomes
    assert ("front", {"a": "1", "b": "2"}, True) == (found.name, found.labels, found.drained)
    assert ("web-1", {"a": "1", "b": "2"}, False) == (
        unnamed.name,
        unnamed.labels,
        unnamed.drained,
    )


async def test_a_session_that_is_not_the_newest_does_not_remove_its_agent(subject: Opened) -> None:
    joined, session = join()
    await subject.apply(joined, session, session)
    remove = RemoveAgent(agent=agent_id(), at=500.0, epoch=1)
    outcomes = await subject.apply(remove, replace(remove, epoch=2), replace(remove, epoch=2))

    assert [Fenced(), Done(), Lost()] == outcomes
    assert await (await subject.look()).agent(agent_id()) is None


async def test_a_removed_agent_leaves_its_runs_at_rest(subject: Opened) -> None:
    await subject.apply(*join(1), *join(2))
    runs = [run(n, of=1) for n in range(1, 6)]
    runs[1] = replace(runs[1], state=S.HELD)
    await subject.apply(add(1, *runs, run(6, of=2)))
    for n in (3, 4, 5):
        await subject.apply(move(n, S.SENT))
    await subject.apply(move(4, S.RUNNING), move(5, S.FAILED), move(6, S.REFUSED))
    remove = RemoveAgent(agent=agent_id(), at=500.0)
    outcomes = await subject.apply(
        remove, remove, move(3, S.RUNNING, epoch=1), append(b"x", n=4, epoch=1)
    )
    store = await subject.look()
    states = [(await the_run(store, n)).state for n in range(1, 7)]

    assert [Done(), Lost(), Fenced(), Fenced()] == outcomes
    assert [S.CANCELLED, S.CANCELLED, S.LOST, S.LOST, S.FAILED, S.REFUSED] == states
    assert {Why.AGENT_REMOVED} == {(await the_run(store, n)).why for n in range(1, 5)}
    assert ["cancelled", "cancelled", "lost", "lost", "end"] == (await told(store))[-5:]
    assert (await the_job(store)).open == 0
    assert await store.agent(agent_id()) is None
    assert [agent_id(2)] == [found.id for found in (await store.agents()).items]


async def test_an_agent_is_found_by_name_id_and_address(subject: Opened) -> None:
    for n, name in ((1, "web"), (2, "web"), (3, "db"), (4, "db")):
        told_name = replace(agent(n).identity, name=name)
        await subject.apply(JoinAgent(agent=replace(agent(n), identity=told_name)))
    nowhere = replace(agent(5), identity=identity("x", ip="", mac=""))
    await subject.apply(
        JoinAgent(agent=nowhere),
        EditAgent(agent=agent_id(3), name="web"),
        EditAgent(agent=agent_id(4), name="cache"),
    )
    store = await subject.look()
    found = {
        name: [int(found.id[4:]) for found in await store.agents_named(name)]
        for name in ("web", "db", "cache", agent_id(4), "10.0.0.2-02:00", "-", "", "we%")
    }

    assert found == {
        "web": [1, 2, 3],
        "db": [],  # what an operator gave covers what the agent tells
        "cache": [4],
        agent_id(4): [4],
        "10.0.0.2-02:00": [2],
        "-": [],
        "": [],
        "we%": [],
    }


async def test_queued_runs_are_due_when_their_time_is_up(subject: Opened) -> None:
    late = [
        replace(run(n), queue_until=until)
        for n, until in ((1, 500.0), (2, 300.0), (3, 400.0), (4, 300.0))
    ]
    await subject.apply(add(1, *late), move(4, S.SENT))
    store = await subject.look()

    assert [run_id(2), run_id(3)] == [found.id for found in await store.due(400.0)]
    assert [run_id(2)] == [found.id for found in await store.due(500.0, limit=1)]


async def test_runs_of_silent_agents_are_found(subject: Opened) -> None:
    for n, liveness, seen in (
        (1, Liveness.ONLINE, 60.0),
        (2, Liveness.SUSPECT, 60.0),
        (3, Liveness.OFFLINE, 80.0),
        (4, Liveness.OFFLINE, 60.0),
    ):
        joined, session = join(n)
        news = SetLiveness(agent=agent_id(n), epoch=1, liveness=liveness, at=seen)
        await subject.apply(joined, replace(session, at=10.0), news)
    await subject.apply(add(1, *(run(n, of=n) for n in range(1, 6)), run(6, of=4)))
    await subject.apply(*(move(n, S.SENT) for n in range(1, 6)), move(2, S.RUNNING))
    store = await subject.look()

    assert [2, 4, 5] == [int(found.id[4:]) for found in await store.silent(80.0)]
    assert [2] == [int(found.id[4:]) for found in await store.silent(80.0, limit=1)]
    assert [5] == [int(found.id[4:]) for found in await store.silent(60.0)]


async def test_nothing_lies_in_the_future_of_a_clock_that_was_set_back(subject: Opened) -> None:
    (first, session), (second, other) = join(1), join(2)
    await subject.apply(first, replace(session, at=900.0), second, replace(other, at=500.0))
    queued = run(1, job=1)  # until 400
    late, sent, held = (replace(run(n, job=1), queue_until=900.0) for n in (2, 3, 4))
    await subject.apply(
        add(1, queued, late, sent, replace(held, state=S.HELD)),
        AddJob(
            job=job(2, spec=JobSpec(what=Argv(("true",)), queue_ttl_s=50.0)),
            runs=(replace(run(5, job=2), queue_until=580.0),),
        ),
        move(3, S.SENT),
    )
    outcomes = await subject.apply(ClampTimes(at=550.0), ClampTimes(at=500.0), ClampTimes(at=500.0))
    store = await subject.look()

    assert [Clamped(1, 1), Clamped(1, 2), Clamped(0, 0)] == outcomes
    assert [500.0, 500.0] == [found.last_seen_at for found in (await store.agents()).items]
    assert [400.0, 800.0, 900.0, 900.0, 550.0] == [
        (await the_run(store, n)).queue_until for n in range(1, 6)
    ]
    assert [run_id(1), run_id(5), run_id(2)] == [found.id for found in await store.due(800.0)]


async def test_the_audit_is_read_newest_first(subject: Opened) -> None:
    lines = [
        Record(at=float(n), by="admin", action="job.add", subject=f"job_{n}", facts={"runs": n})
        for n in range(5)
    ]
    outcomes = await subject.apply(*lines)
    store = await subject.look()
    first = await store.audit(limit=3)
    rest = await store.audit(limit=3, cursor=first.next)

    assert [Done()] * 5 == outcomes
    assert lines[::-1] == [*first.items, *rest.items]
    assert rest.next is None
