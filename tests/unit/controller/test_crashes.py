"""A controller dies at each of its commits, before it or behind it, and another one goes on.

The same small day is played again and again: some runs end, one is cancelled, one waits for a host
that is away. Whatever was accepted must come to its true end, with every byte, started once.
"""

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

import pytest

from farhand.domain.ids import JobId, RunId
from farhand.domain.job import Argv, JobSpec, Names
from farhand.domain.messages import (
    CancelRun,
    FromController,
    HeldRun,
    HeldState,
    Resume,
    RunRefused,
    RunStarted,
    Settled,
    StartRun,
    Stop,
)
from farhand.domain.output import StreamName
from farhand.domain.rollout import Ended, Phase, Rollout
from farhand.domain.run import RunState, Why
from farhand.domain.spread import Gate, Share, Spread
from farhand.errors import StoreUnavailable, Unavailable, UnknownAgent
from farhand.ports import Change, Outcome, RunFilter, Store
from farhand.storage.memory import MemoryStore
from farhand.testing import FakeAgent, ManualClock, World, ended, output, settle

S = RunState
PRINTED = b"first line\nsecond line\n"


class MortalStore(MemoryStore):
    """Its process dies at commit number *last*, before it or *behind* it."""

    def __init__(self, last: int, *, behind: bool) -> None:
        super().__init__()
        self.commits = -1  # not counted yet
        self._last = last
        self._behind = behind

    async def apply(self, changes: Sequence[Change]) -> Sequence[Outcome]:
        if self.commits < 0:
            return await super().apply(changes)
        self.commits += 1
        if self.commits < self._last or (self.commits == self._last and self._behind):
            outcomes = await super().apply(changes)
            if self.commits < self._last:
                return outcomes
        raise StoreUnavailable

    def revive(self) -> None:
        self.commits = -1


@dataclass
class Deed:
    """What a host knows of one run."""

    program: str
    over: HeldState | None = None
    cancelled: bool = False


@dataclass(eq=False)
class Host(FakeAgent):
    """An agent with a journal: it starts a run once, and tells its end until that is settled."""

    journal: dict[RunId, Deed] = field(default_factory=dict)
    starts: Counter[RunId] = field(default_factory=Counter)

    def receive(self, orders: Sequence[FromController]) -> None:
        super().receive(orders)
        for order in orders:
            match order:
                case Settled(run) | Stop(run):
                    self.journal.pop(run, None)
                case Resume(run, offsets) if run in self.journal:
                    self._later(self._tell, run, offsets[StreamName.STDOUT])
                case CancelRun(run) if run in self.journal and not self.journal[run].over:
                    self.journal[run].cancelled = True
                    self._later(self._tell, run, 0)
                case _:
                    pass

    def come_back(self) -> None:
        """What `connect` tells next."""
        self.held = [
            HeldRun(run=run, state=deed.over or HeldState.RUNNING)
            for run, deed in self.journal.items()
        ]

    def _later(self, tell: object, *given: object) -> None:
        self.spawn(self._soon(tell, *given), name="host")

    async def _soon(self, tell: object, *given: object) -> None:
        await settle(2)
        assert callable(tell)
        tell(*given)

    def _behave(self, order: StartRun) -> None:
        assert isinstance(order.spec.what, Argv)
        self.starts[order.run] += 1
        self.journal[order.run] = Deed(order.spec.what.argv[0])
        self._tell(order.run, 0)

    def _tell(self, run: RunId, offset: int) -> None:
        deed = self.journal.get(run)
        if deed is None or self.session is None:
            return
        match deed.program:
            case "refuse":
                deed.over = HeldState.REFUSED
                self._say_if_connected(RunRefused(run, Why.POLICY, "no"))
            case "hang" if not deed.cancelled:
                self._say_if_connected(RunStarted(run, 1))
            case "hang":
                deed.over = HeldState.ENDED
                end = ended(run)
                self._say_if_connected(replace(end, ending=replace(end.ending, why=Why.CANCELLED)))
            case "flaky" if next(iter(self.starts)) == run:  # the first time on this host
                deed.over = HeldState.ENDED
                self._say_if_connected(RunStarted(run, 1))
                self._say_if_connected(ended(run, code=1))
            case _:
                deed.over = HeldState.ENDED
                self._say_if_connected(RunStarted(run, 1))
                for at in range(offset, len(PRINTED), 10):
                    self._say_if_connected(output(run, PRINTED[at : at + 10], offset=at))
                self._say_if_connected(ended(run, stdout=PRINTED))


WANTED = {
    "print": S.SUCCEEDED,
    "refuse": S.REFUSED,
    "hang": S.CANCELLED,
    "wait": S.SUCCEEDED,
}


def host(world: World, name: str) -> Host:
    return Host(
        name, controller=world, spawn=world.new_agent(name).spawn, join_token=world.join_token
    )


async def the_day(world: World, hosts: Sequence[Host], accepted: dict[str, JobId]) -> list[JobId]:
    """Everything that happens, as far as the controller lives; return what it let be cancelled."""
    here, away = hosts
    for one in (away, here):
        with suppress(Unavailable, UnknownAgent):
            await one.connect()
    await settle()
    away.vanish()
    await settle()
    for program in WANTED:
        with suppress(Unavailable, UnknownAgent):
            on = away.name if program == "wait" else here.name
            accepted[program] = (await world.submit(program, on=on)).job.id
    cancelled: list[JobId] = []
    if "hang" in accepted:
        with suppress(Unavailable, UnknownAgent):
            await world.tenant.jobs.cancel_job(accepted["hang"], by="test")
            cancelled.append(accepted["hang"])
    await settle()
    return cancelled


async def the_next_day(world: World, hosts: Sequence[Host]) -> None:
    """A new controller, and everybody comes back to it."""
    for one in hosts:
        world.bring(one)
        one.come_back()
        one.join_token = world.join_token
        await one.connect()
        await settle()


async def states(store: Store, jobs: dict[str, JobId]) -> dict[str, RunState]:
    found: dict[str, RunState] = {}
    for program, job in jobs.items():
        (run,) = (await store.runs(RunFilter(job=job))).items
        found[program] = run.state
    return found


async def play(store: MortalStore) -> int:
    """Live through a day, perhaps not to its end, and through the next; return the commits."""
    clock, accepted = ManualClock(), dict[str, JobId]()
    async with World.start(clock, store=store) as first:
        hosts = [host(first, "here"), host(first, "away")]
        store.commits = 0
        asked = await the_day(first, hosts, accepted)
        commits = store.commits
        for one in hosts:
            one.vanish()
        await clock.advance(2)  # writers that try again find that their stream is over
    store.revive()
    async with World.start(clock, store=store, control=first.control) as second:
        await the_next_day(second, hosts)
        for job in (await store.jobs()).items:  # kept and not answered, or its cancel was lost
            if job.open and job.id not in asked:
                await second.tenant.jobs.cancel_job(job.id, by="test")
        await clock.advance(1)
        found = await states(store, accepted)

        assert {program: WANTED[program] for program in accepted} == found
        assert {1} >= {n for one in hosts for n in one.starts.values()}
        assert [{}, {}] == [one.journal for one in hosts]
        assert ["away", "here"] == sorted(a.name for a in (await store.agents()).items)
        for program in ("print", "wait"):
            if program in accepted:
                (run,) = (await store.runs(RunFilter(job=accepted[program]))).items

                assert PRINTED == await second.output(run)
    return commits


async def test_a_day_without_a_crash_is_what_the_others_are_held_against() -> None:
    assert await play(MortalStore(10_000, behind=False)) > 12


@pytest.mark.parametrize("behind", [False, True], ids=["before", "behind"])
async def test_whatever_was_accepted_comes_to_its_true_end_after_a_crash(behind: bool) -> None:
    commits = await play(MortalStore(10_000, behind=False))
    for last in range(1, commits + 1):
        await play(MortalStore(last, behind=behind))


# --- a job that is spread -----------------------------------------------------------------

FLEET = ["a", "b", "c"]
SPREAD = Spread(
    waves=(Share(hosts=1),),
    concurrency=Share(hosts=2),
    gate=Gate(spec=JobSpec(what=Argv(("print",))), targets="name=probe"),
    retries=1,
)


async def spread_out(store: MortalStore) -> int:
    """Spread a job that fails once on each host; die somewhere, go on; return the commits."""
    clock, spec = ManualClock(), JobSpec(what=Argv(("flaky",)), rerunnable=True)
    async with World.start(clock, store=store) as first:
        hosts = [host(first, name) for name in (*FLEET, "probe")]
        for one in hosts:
            await one.connect()
        await settle()
        jobs = first.tenant.jobs
        job = (await jobs.submit(spec, Names(tuple(FLEET)), by="ada", spread=SPREAD)).job.id
        store.commits = 0
        await clock.advance(8)
        commits = store.commits
        for one in hosts:
            one.vanish()
        await clock.advance(2)
    store.revive()
    async with World.start(clock, store=store, control=first.control) as second:
        await the_next_day(second, hosts)
        await clock.advance(15)
        rollout = await store.document(Rollout, job)
        runs = (await store.runs(RunFilter(job=job))).items

        assert rollout is not None
        assert (Phase.DONE, Ended.COMPLETED) == (rollout.phase, rollout.ended)
        assert 0 == await store.waiting(job)
        assert {S.FAILED: 3, S.SUCCEEDED: 3} == Counter(run.state for run in runs)
        assert sorted(run.id for run in runs if run.state is S.FAILED) == sorted(
            run.retry_of for run in runs if run.retry_of
        )
        assert {1} == {n for one in hosts for n in one.starts.values()}
        assert 2 == len((await store.jobs()).items)  # it, and its gate
        assert ["end"] == [e.kind for e in await store.events(job, limit=1000) if e.kind == "end"]
    return commits


async def test_a_job_is_spread_without_a_crash() -> None:
    assert await spread_out(MortalStore(10_000, behind=False)) > 12


@pytest.mark.parametrize("behind", [False, True], ids=["before", "behind"])
async def test_a_job_is_spread_to_its_end_after_a_crash(behind: bool) -> None:
    commits = await spread_out(MortalStore(10_000, behind=False))
    for last in range(1, commits + 1):
        await spread_out(MortalStore(last, behind=behind))
