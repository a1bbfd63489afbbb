"""Whatever is lost, repeated, late or killed, in whatever order: the promises hold.

A machine draws what happens to a controller and its agents (`tests.model.world`). At the end
everything is healed, and then each run has come to its true end.
"""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from farhand.domain.job import Argv, JobSpec, Script
from farhand.domain.output import StreamName
from farhand.ports import AddJob, CancelJob, OpenSession, RequestCancel
from tests.model.hosts import PROGRAM, Puppet
from tests.model.network import End
from tests.model.vault import Mood
from tests.model.world import World

HOSTS = 2
WHATS = [Argv((PROGRAM,))] * 10 + [Argv(("missing",)), Script("true")]

hosts = st.integers(0, HOSTS - 1)
places = st.integers(0, 5)  # in whatever list there is, from its end
yes_or_no = st.booleans()
sizes = st.sampled_from([0, 1, 7, 30, 100, 300])
streams = st.sampled_from(StreamName)
thens = st.sampled_from(["", "mend", "mend", "rest"])
ACTS = [
    *("submit", "submit", "print", "end", "cancel", "hang up", ""),
    *("cut", "half cut", "kill agents", "kill controller"),
]
bad_moods = st.sampled_from([mood for mood in Mood if mood is not Mood.GOOD])
acts = st.tuples(*[st.sampled_from(ACTS)] * 3)
specs = st.builds(
    JobSpec,
    what=st.sampled_from(WHATS),
    timeout_s=st.sampled_from([600.0, 600.0, 5.0]),
    queue_ttl_s=st.sampled_from([300.0, 300.0, 4.0]),
    output_limit_bytes=st.sampled_from([1 << 20, 40, 17, 0]),
)


class Machine(RuleBasedStateMachine):
    """A world, and everything that may happen in it."""

    sqlite = False

    def __init__(self) -> None:
        super().__init__()
        self.world = World(hosts=HOSTS, sqlite=self.sqlite)

    def teardown(self) -> None:
        try:
            self.world.heal()
            self.world.check_all()
            self.world.leave()
        finally:
            self.world.close()

    # --- one thing while another goes wrong ----------------------------------------------

    def do(self, act: str, size: int) -> None:
        """What people, programs and the network do most."""
        world = self.world
        match act:
            case "submit":
                world.submit(JobSpec(what=Argv((PROGRAM,))), [0, 1])
            case "print" | "end":
                for puppet in self.programs:
                    puppet.print(StreamName.STDOUT, size)
                    if act == "end":
                        puppet.exit(0)
            case "cancel":
                for job in world.vault.jobs[-2:]:
                    world.cancel_job(job)
            case "cut":
                for wire in world.network.live:
                    wire.cut()
            case "half cut":
                for wire in world.network.live:
                    wire.cut(told=(True, False), flying=(False, True))
            case "hang up":
                world.hang_up()
            case "kill agents":
                for host in world.hosts:
                    world.kill_agent(host.which, processes=True, told=True, flying=True)
                    host.start()
            case "kill controller":
                world.kill_controller(told=True, flying=True)
                world.centre.start()
            case _:
                pass

    def _after(self, then: str) -> None:
        if then == "mend":
            self.mend_store(1.0)
        elif then == "rest":
            self.rest()

    @rule(writing=bad_moods, acts=acts, size=sizes, then=thens)
    def while_not_written(
        self, writing: Mood, acts: tuple[str, str, str], size: int, then: str
    ) -> None:
        self._while_not_written(writing, acts, size, then)

    @rule(writing=bad_moods, acts=acts, size=sizes, then=thens)
    def while_runs_are_not_written(
        self, writing: Mood, acts: tuple[str, str, str], size: int, then: str
    ) -> None:
        self.world.vault.spared = (AddJob, OpenSession, CancelJob, RequestCancel)
        self._while_not_written(writing, acts, size, then)

    def _while_not_written(
        self, writing: Mood, acts: tuple[str, str, str], size: int, then: str
    ) -> None:
        self.world.vault.writing = writing
        for act in acts:
            self.do(act, size)
            self.world.settle()
        self._after(then)

    @rule(acts=acts, size=sizes, then=thens)
    def while_read_late(self, acts: tuple[str, str, str], size: int, then: str) -> None:
        self.world.vault.reading = Mood.MUTE
        for act in acts:
            self.do(act, size)
            self.world.settle()
        self._after(then)

    @rule(acts=acts, size=sizes, disk=yes_or_no, then=thens)
    def while_hosts_are_slow(
        self, acts: tuple[str, str, str], size: int, disk: bool, then: str
    ) -> None:
        for host in self.world.hosts:
            self.slow_host(host.which, disk, True)
        for act in acts:
            self.do(act, size)
            self.world.settle()
        if then == "mend":
            for host in self.world.hosts:
                self.slow_host(host.which, disk, False)
        self._after(then)

    @rule(acts=acts, size=sizes, ends=st.sampled_from([(0,), (1,), (0, 1)]), then=thens)
    def while_nothing_arrives(
        self, acts: tuple[str, str, str], size: int, ends: tuple[int, ...], then: str
    ) -> None:
        held = [wire.ends[end] for wire in self.world.network.live for end in ends]
        for end in held:
            end.held = True
        for act in acts:
            self.do(act, size)
            self.world.settle()
        if then == "mend":
            for end in held:
                end.release()
            self.world.settle()
        self._after(then)

    @rule(acts=acts, size=sizes, rounds=st.integers(0, 12))
    def in_a_hurry(self, acts: tuple[str, str, str], size: int, rounds: int) -> None:
        for act in acts:
            self.world.patience = rounds
            self.do(act, size)
            self.world.settle()

    # --- people ---------------------------------------------------------------------------

    @initialize(spec=specs)
    def begin(self, spec: JobSpec) -> None:
        self.world.submit(spec, [0, 1])
        self.world.settle()

    @rule(
        spec=specs,
        on=st.sampled_from([[0], [1], [0, 1]]),
        hold=st.sampled_from([False, False, False, True]),
        key=st.sampled_from([None, None, "a", "b"]),
    )
    def submit(self, spec: JobSpec, on: list[int], hold: bool, key: str | None) -> None:
        self.world.submit(spec, on, hold=hold, key=key)
        self.world.settle()

    @precondition(lambda self: self.world.vault.known)
    @rule(place=places)
    def cancel_run(self, place: int) -> None:
        runs = list(self.world.vault.known)
        self.world.cancel_run(runs[-1 - place % len(runs)])
        self.world.settle()

    @precondition(lambda self: self.world.vault.jobs)
    @rule(place=places, cancel=yes_or_no)
    def cancel_or_release_job(self, place: int, cancel: bool) -> None:
        jobs = self.world.vault.jobs
        (self.world.cancel_job if cancel else self.world.release)(jobs[-1 - place % len(jobs)])
        self.world.settle()

    @rule(which=hosts, what=st.sampled_from(["drain", "undrain", "ask", "ask"]))
    def see_to_agent(self, which: int, what: str) -> None:
        if what == "ask":
            self.world.ask(which)
        else:
            self.world.drain(which, drained=what == "drain")
        self.world.settle()

    # --- programs -------------------------------------------------------------------------

    @property
    def programs(self) -> list[Puppet]:
        return [puppet for host in self.world.hosts for puppet in host.living]

    @precondition(lambda self: self.programs)
    @rule(place=places, stream=streams, size=sizes, how=st.sampled_from(["", "", "trap"]))
    def print(self, place: int, stream: StreamName, size: int, how: str) -> None:
        puppet = self.programs[-1 - place % len(self.programs)]
        puppet.print(stream, size)
        if how == "trap":
            puppet.trap()
        self.world.settle()

    @precondition(lambda self: self.programs)
    @rule(place=places, size=sizes, code=st.sampled_from([0, 0, 1, None]))
    def end(self, place: int, size: int, code: int | None) -> None:
        puppet = self.programs[-1 - place % len(self.programs)]
        puppet.print(StreamName.STDOUT, size)
        if code is None:
            puppet.die()
        else:
            puppet.exit(code)
        self.world.settle()

    @precondition(lambda self: self.programs)
    @rule(size=sizes)
    def end_all(self, size: int) -> None:
        for puppet in self.programs:
            puppet.print(StreamName.STDERR, size)
            puppet.exit(0)
        self.world.settle()

    # --- time -----------------------------------------------------------------------------

    @rule(seconds=st.sampled_from([0.02, 0.6, 1.1, 6.0, 11.0, 30.0]))
    def wait(self, seconds: float) -> None:
        self.world.settle(seconds)

    @rule(seconds=st.sampled_from([70.0, 100.0, 400.0]), wall=st.sampled_from([0, 0, -1, 1]))
    def wait_long(self, seconds: float, wall: int) -> None:
        if wall:
            self.world.jump(wall * 86_400.0)
        self.world.settle(seconds)

    @rule()
    def rest(self) -> None:
        """Nothing goes wrong for a while: everything comes to its end."""
        self.world.heal()
        self.world.check_all()

    @rule(rounds=st.integers(0, 12))
    def hurry(self, rounds: int) -> None:
        """What happens next is over after a few rounds of the loop."""
        self.world.patience = rounds

    # --- the network ----------------------------------------------------------------------

    def _end(self, place: int, controller: bool) -> End:
        wires = self.world.network.live
        return wires[-1 - place % len(wires)].ends[controller]

    @precondition(lambda self: self.world.network.live)
    @rule(
        place=places,
        told=st.tuples(yes_or_no, yes_or_no),
        flying=st.tuples(yes_or_no, yes_or_no),
    )
    def cut(self, place: int, told: tuple[bool, bool], flying: tuple[bool, bool]) -> None:
        self._end(place, False).wire.cut(told=told, flying=flying)
        self.world.settle()

    @precondition(lambda self: self.world.network.live)
    @rule(place=places, controller=yes_or_no)
    def hold(self, place: int, controller: bool) -> None:
        self._end(place, controller).held = True

    @precondition(lambda self: self.world.network.live)
    @rule(place=places, controller=yes_or_no, count=st.sampled_from([1, 1, 2, 3, 99]))
    def let_through(self, place: int, controller: bool, count: int) -> None:
        end = self._end(place, controller)
        if count == 99:
            end.release()
        else:
            for _ in range(count):
                end.arrive_one()
        self.world.settle()

    @rule(which=hosts, how=st.sampled_from(["sluggish", "quick", "down", "up"]))
    def weather(self, which: int, how: str) -> None:
        network = self.world.network
        match how:
            case "down":
                network.down.add(which)
            case "up":
                network.down.discard(which)
            case _:
                network.sluggish = how == "sluggish"
        self.world.settle()

    # --- death ----------------------------------------------------------------------------

    @rule(
        which=hosts,
        processes=yes_or_no,
        told=yes_or_no,
        flying=yes_or_no,
        back=st.sampled_from([True, True, False]),
    )
    def kill_agent(self, which: int, processes: bool, told: bool, flying: bool, back: bool) -> None:
        self.world.kill_agent(which, processes=processes, told=told, flying=flying)
        if back:
            self.world.hosts[which].start()
        self.world.settle()

    @rule(which=hosts)
    def stop_agent(self, which: int) -> None:
        self.world.hosts[which].stop()
        self.world.settle()

    @precondition(lambda self: not all(host.up for host in self.world.hosts))
    @rule()
    def start_agents(self) -> None:
        for host in self.world.hosts:
            if not host.up:
                host.start()
        self.world.settle()

    @rule(
        told=yes_or_no,
        flying=yes_or_no,
        polite=st.sampled_from([False, False, True]),
        back=st.sampled_from([True, True, False]),
    )
    def kill_controller(self, told: bool, flying: bool, polite: bool, back: bool) -> None:
        if polite:
            self.world.centre.say_goodbye()
            self.world.settle(1.0)
        self.world.kill_controller(told=told, flying=flying)
        if back:
            self.world.centre.start()
        self.world.settle()

    @precondition(lambda self: self.world.centre.life is None)
    @rule()
    def start_controller(self) -> None:
        self.world.centre.start()
        self.world.settle()

    # --- the store and the disks ----------------------------------------------------------

    @rule(
        writing=st.sampled_from(Mood),
        reading=st.sampled_from([Mood.GOOD, Mood.GOOD, Mood.DOWN, Mood.MUTE]),
    )
    def spoil_store(self, writing: Mood, reading: Mood) -> None:
        self.world.vault.writing, self.world.vault.reading = writing, reading

    @precondition(lambda self: self.world.vault.spoiled)
    @rule(seconds=st.sampled_from([0.0, 0.0, 1.0, 6.0]))
    def mend_store(self, seconds: float) -> None:
        self.world.vault.release()
        self.world.settle(seconds)

    @rule(which=hosts, disk=yes_or_no, slow=yes_or_no)
    def slow_host(self, which: int, disk: bool, slow: bool) -> None:
        host = self.world.hosts[which]
        subject = host.life if disk else host
        if subject is not None:
            (subject.slow_down if slow else subject.speed_up)()
            self.world.settle()

    # --- a network that does what gRPC forbids, and peers that say things twice -----------

    @precondition(lambda self: self.world.network.live)
    @rule(place=places, controller=yes_or_no)
    def mix_runs(self, place: int, controller: bool) -> None:
        self.world.mix(self._end(place, controller))


class LooseMachine(Machine):
    """The same with peers that repeat and reorder what they say."""

    @precondition(lambda self: self.world.network.live)
    @rule(
        place=places,
        controller=yes_or_no,
        which=st.tuples(st.integers(0, 20), st.integers(0, 20)),
        other=st.none() | hosts,
    )
    def repeat(
        self, place: int, controller: bool, which: tuple[int, int], other: int | None
    ) -> None:
        end = self._end(place, controller)
        for each in which:
            self.world.repeat(end, each, of=other if controller else None)
        self.world.settle()

    @precondition(lambda self: self.world.network.live)
    @rule(place=places, controller=yes_or_no)
    def swap(self, place: int, controller: bool) -> None:
        self.world.swap(self._end(place, controller))

    @rule(which=hosts, pretend=yes_or_no)
    def pretend(self, which: int, pretend: bool) -> None:
        (self.world.pretenders.add if pretend else self.world.pretenders.discard)(which)


class SqliteMachine(Machine):
    """The same over SQLite."""

    sqlite = True


def _settings(examples: int, steps: int) -> settings:
    """So many examples, and a hundred times as many under the profile `deep`."""
    factor = max(1, settings().max_examples // 100)
    return settings(max_examples=examples * factor, stateful_step_count=steps)


TestMachine = Machine.TestCase
TestMachine.settings = _settings(20, 25)
TestLooseMachine = LooseMachine.TestCase
TestLooseMachine.settings = _settings(10, 25)
TestSqliteMachine = SqliteMachine.TestCase
TestSqliteMachine.settings = _settings(3, 20)
