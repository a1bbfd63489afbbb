"""What a run's end and output must be, seen from its host: judged by nothing that farhand says."""

from dataclasses import dataclass

from farhand.domain.limits import AgentLimits
from farhand.domain.output import StreamName
from farhand.domain.run import Run, RunState, Why
from tests.model.hosts import Host, Puppet
from tests.model.vault import Known

WAITING = {RunState.HELD, RunState.QUEUED}


@dataclass(frozen=True, slots=True)
class Kept:
    """What is to be kept of a stream that printed so much."""

    head: bytes
    tail: bytes
    cut: int


def kept_of(printed: bytes, limit: int, limits: AgentLimits) -> Kept:
    """Cut a stream as the documentation says: head and tail, and how much is left out."""
    if len(printed) <= limit:
        return Kept(printed, b"", 0)
    tail = min(limits.tail_bytes, limit // 2)
    head = limit - tail
    return Kept(printed[:head], printed[len(printed) - tail :], len(printed) - limit)


def check_so_far(known: Known, host: Host, stream: StreamName, stored: bytes) -> None:
    """What is stored of a run that goes on is the beginning of what it printed."""
    puppet = host.puppets.get(known.run.id)
    printed = bytes(puppet.printed[stream]) if puppet else b""
    limit = known.spec.output_limit_bytes
    head = printed[: limit - min(host.limits.tail_bytes, limit // 2)]
    if len(printed) <= limit and puppet is not None and puppet.ended_at is not None:
        head = printed
    assert stored[: len(head)] == head[: len(stored)], "what is stored was printed"
    if puppet is None or puppet.ended_at is None:
        assert len(stored) <= len(head), "nothing is stored that was not printed"


def check_end(run: Run, known: Known, host: Host, outputs: dict[StreamName, bytes]) -> None:
    """The final state is the true one, and nothing is missing that it says is there."""
    puppet = host.puppets.get(run.id)
    launches = host.launches.count(run.id)
    assert launches <= 1, "a run is launched at most once"
    assert run.state.final, f"{run.state} is no end"
    if known.history[0] in WAITING and known.history[-2] in WAITING:
        assert launches == 0, "it is said that it was never started"
    _check_why(run, known, host, puppet, launches)
    for stream, stored in outputs.items():
        _check_output(run, known, host, stream, stored)


def _check_why(run: Run, known: Known, host: Host, puppet: Puppet | None, launches: int) -> None:
    match run.state, run.why:
        case ((RunState.SUCCEEDED | RunState.FAILED), (Why.EXIT | Why.SIGNAL)):
            assert puppet is not None
            assert puppet.end is not None, "it did not end by itself"
            assert puppet.end.code == run.exit_code
            assert puppet.end.signal == run.signal
        case RunState.TIMED_OUT, Why.TIME_LIMIT:
            assert puppet is not None
            assert puppet.ended_at is not None
            assert puppet.ended_at - puppet.began_at > known.spec.timeout_s - 1e-6
        case RunState.CANCELLED, Why.CANCELLED:
            assert known.cancel_at is not None, "nobody asked for it"
            if puppet is not None and puppet.end is not None:
                assert puppet.ended_at is not None
                assert puppet.ended_at >= known.cancel_at, "it had ended before it was asked to"
        case RunState.FAILED, Why.AGENT_RESTARTED:
            assert run.message != "the agent came back without a record of this run"
            if launches:
                assert run.id in host.interrupted, "the agent knew its end"
            else:
                assert host.deaths
        case RunState.FAILED, Why.AGENT_STOPPED:
            assert host.stops
            if puppet is not None and puppet.end is not None:
                assert puppet.ended_at is not None
                assert puppet.ended_at >= min(host.stops)
        case RunState.FAILED, Why.PROGRAM_NOT_FOUND:
            assert launches == 0
        case ((RunState.REFUSED | RunState.EXPIRED), _):
            assert launches == 0, "it is said that it was never started"
        case state, why:
            raise AssertionError(f"{state} because of {why}")


def _check_output(run: Run, known: Known, host: Host, stream: StreamName, stored: bytes) -> None:
    puppet = host.puppets.get(run.id)
    printed = bytes(puppet.printed[stream]) if puppet else b""
    end = run.streams.get(stream)
    if end is None:
        assert run.why is Why.AGENT_RESTARTED or not printed, "the streams of an end are told"
        check_so_far(known, host, stream, stored)
        return
    if run.why is not Why.AGENT_RESTARTED:
        assert len(printed) == end.total
    kept = kept_of(printed[: end.total], known.spec.output_limit_bytes, host.limits)
    assert kept.head + kept.tail == stored, "all that was printed is stored"
    assert (len(stored), kept.cut) == (end.kept, end.cut_bytes)
    assert (len(kept.head) if kept.cut else 0) == end.cut_at
