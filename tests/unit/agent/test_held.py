"""What is told of a run, and in which order."""

from farhand.agent.budget import Budget
from farhand.agent.held import HeldEntry
from farhand.agent.spool import Spool
from farhand.domain.ids import RunId
from farhand.domain.limits import AGENT_DEFAULTS
from farhand.domain.messages import HeldState, Output, Resume, RunEnded, RunRefused, RunStarted
from farhand.domain.output import StreamName
from farhand.domain.run import Ending, Why

RUN = RunId("run_01h455vb4pex5vsknk084sn02q")
BOTH = dict.fromkeys(StreamName, 0)
PLENTY = dict.fromkeys(StreamName, 1 << 30)


def _ended(text: bytes) -> HeldEntry:
    """A run that printed *text* and ended; nothing of it was told yet."""
    held = HeldEntry(RUN)
    held.pid, held.state = 7, HeldState.ENDED
    held.spools = {n: Spool(RUN, n, 1000, Budget(AGENT_DEFAULTS)) for n in StreamName}
    held.spools[StreamName.STDOUT].feed(text)
    streams = {name: spool.finish() for name, spool in held.spools.items()}
    held.ending = Ending(why=Why.EXIT, exit_code=0, streams=streams)
    held.mute()
    return held


def test_nothing_is_told_before_the_controller_asks() -> None:
    held = _ended(b"hi")

    assert held.next_frame(100) is None
    assert 2 == held.held().next_offsets[StreamName.STDOUT]


def test_the_start_comes_before_the_output_and_the_end_behind_all_of_it() -> None:
    held = _ended(b"hi")
    held.tell_again(Resume(RUN, BOTH, PLENTY))
    told = [type(held.next_frame(1)) for _ in range(5)]

    assert [RunStarted, Output, Output, RunEnded, type(None)] == told


def test_the_end_is_told_again_on_the_next_connection() -> None:
    held = _ended(b"")
    for _ in range(2):
        held.mute()
        held.tell_again(Resume(RUN, BOTH, PLENTY))
        assert [RunStarted, RunEnded] == [type(held.next_frame(1)) for _ in range(2)]


def test_a_refusal_is_all_that_is_told_of_a_refused_run() -> None:
    held = HeldEntry(RUN)
    held.refusal = RunRefused(RUN, Why.POLICY, "no")
    held.mute()
    held.tell_again(Resume(RUN, BOTH, PLENTY))

    assert held.refusal == held.next_frame(1)
    assert held.next_frame(1) is None


def test_the_first_cause_counts() -> None:
    held = HeldEntry(RUN)
    held.ask_to_end(Why.CANCELLED, 1.0)
    held.ask_to_end(Why.AGENT_STOPPED, 2.0)

    assert (Why.CANCELLED, 1.0) == (held.cause, held.grace_s)
