"""Every limit and its default, in one place, each with its unit in the name.

What an operator may change is a field of a configuration that starts from these; the table in
docs/reference/limits.md is compared with this file by a test.
"""

from dataclasses import dataclass
from typing import Final

KIB: Final = 1024
MIB: Final = 1024 * KIB
GIB: Final = 1024 * MIB


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The numbers a controller lives by."""

    # What a job may ask for, and gets when it does not ask.
    run_time_s: float = 600.0
    run_time_max_s: float = 7 * 86_400.0
    queue_ttl_s: float = 300.0
    queue_ttl_max_s: float = 7 * 86_400.0
    output_bytes: int = 256 * MIB  # kept of each stream of a run
    output_max_bytes: int = 16 * GIB
    targets_per_job: int = 10_000
    unnamed_targets: int = 200  # above it, a job must say how many it expects
    groups: int = 1_000  # saved, of an org
    previews: int = 100  # of an org; then the oldest is forgotten
    preview_s: float = 3_600.0  # a job can be bound to a preview for so long
    open_runs: int = 100_000  # of an org, neither final nor lost; a job beyond it is refused
    rollouts: int = 1_000  # of an org, not over; held ones among them
    waves: int = 100  # of a job
    retries: int = 10  # of a run
    pause_max_s: float = 7 * 86_400.0  # between waves, and before a retry
    argv_bytes: int = 128 * KIB
    script_bytes: int = 512 * KIB
    stdin_bytes: int = 1 * MIB
    env_bytes: int = 64 * KIB
    body_bytes: int = 4 * MIB
    wait_max_s: float = 300.0  # ?wait_s=
    deepflow_wait_s: float = 30.0  # a command asked for through DeepFlow's HTTP API
    wait_output_bytes: int = 1 * MIB  # of each stream, in an answer that waited
    idempotency_s: float = 86_400.0
    page_max: int = 1_000

    # Schedules.
    schedules: int = 10_000  # of an org
    schedule_grace_s: float = 300.0  # what is looked at later was missed
    firings: int = 100  # of a schedule, in its history

    # Sessions.
    heartbeat_s: float = 20.0
    inactivity_s: float = 60.0
    lease_s: float = 90.0  # after the last news, a sent or running run is lost
    first_message_s: float = 10.0
    hello_bytes: int = 16 * KIB
    admissions: int = 64  # agents that are let in at once
    admissions_waiting: int = 1_024  # in order; more are told when to come back
    admission_s: float = 5.0  # the longest such wait; well below first_message_s
    return_rate: int = 250  # agents told to come back in any second, at most
    message_bytes: int = 4 * MIB
    outbox_bytes: int = 8 * MIB  # queued for one agent
    request_s: float = 10.0  # catalogue and namespace questions
    requests_per_agent: int = 16
    deepflow_agents: int = 10_000  # that are known; they prove nothing
    deepflow_runs_waiting: int = 256  # for one such agent, which runs one at a time
    deepflow_results_bytes: int = 128 * MIB  # of all such agents, not yet stored
    cancel_grace_s: float = 5.0  # between SIGTERM and SIGKILL
    cancel_again_s: float = 10.0  # a cancel that is not settled is sent again

    # Output on its way.
    grants_bytes: int = 32 * MIB  # of all streams together, above a reserve for each
    grant_reserve_bytes: int = 4 * KIB
    grant_window_bytes: int = 2 * MIB  # of one stream
    inline_bytes: int = 64 * KIB  # of a stream in the database; the rest in a file

    # The people's door.
    head_bytes: int = 64 * KIB  # request line and headers
    head_s: float = 10.0  # until they are there
    body_s: float = 30.0  # until the body is there
    requests: int = 2_000  # at once, followers among them; more are told to come later
    requests_per_caller: int = 1_800  # of them
    requests_bytes: int = 256 * MIB  # of bodies and large answers of all requests together
    connections: int = 4_000  # at once; more are closed
    reader_stuck_s: float = 60.0  # whoever takes no byte of an answer for so long is let go
    readers_bytes: int = 64 * MIB  # of output on its way to readers; then they get small pieces
    waiting: int = 500  # ?wait_s= at once, of an org
    wait_total_bytes: int = 8 * MIB  # of all runs' output, in an answer that waited

    # The store and the whole process.
    followers: int = 1_000  # of an org
    groupings: int = 64  # readers of groups at once, of an org; each holds a name for each run
    exports: int = 8  # of an org, at once
    export_output_bytes: int = 64 * KIB  # of each stream of a run, in an export
    group_bytes: int = 16 * KIB  # shown of each stream of a group
    group_read_bytes: int = 32 * KIB  # compared of each stream of a run, when it is normalised
    retention_s: float = 30 * 86_400.0  # of jobs and their output, once they rest
    output_retention_s: float = 30 * 86_400.0  # of output alone, if that is shorter
    output_total_bytes: int = 50 * GIB  # of all runs of an org; then the oldest goes; 0: no bound
    audit_retention_s: float = 400 * 86_400.0
    sweep_s: float = 1.0
    stop_s: float = 10.0  # the budget of a graceful stop
    goodbye_spread_s: float = 5.0  # agents come back within this after a stop; many take longer


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentLimits:
    """The numbers an agent lives by."""

    runs: int = 64  # at once; more are refused
    deepflow_runs: int = 4  # the same, for a DeepFlow server; each holds its output in memory
    deepflow_output_bytes: int = 16 * MIB  # of stdout of one of them
    deepflow_run_s: float = 25.0  # the server gives up after 30 and tells nobody
    spool_bytes: int = 2 * MIB  # of one stream, not yet stored, in memory
    spool_total_bytes: int = 32 * MIB  # of all streams; then each has only the reserve
    spool_reserve_bytes: int = 64 * KIB  # of one stream, in memory and on disk
    spool_disk_bytes: int = 1 * GIB  # of all streams; no stream has more than it leaves
    chunk_bytes: int = 256 * KIB  # one frame of output
    tail_bytes: int = 256 * KIB  # of one stream, kept after a cut
    drain_s: float = 5.0  # a pipe that somebody holds after the leader ended
    kill_grace_s: float = 5.0
    journal_bytes: int = 4 * MIB  # each of its two files, allocated ahead
    ended_runs: int = 100_000  # ids that are remembered; older ones are never started
    connect_s: float = 10.0
    backoff_first_s: float = 0.5
    backoff_cap_s: float = 10.0
    backoff_late_cap_s: float = 60.0
    backoff_late_after_s: float = 600.0
    stop_s: float = 5.0


DEFAULTS: Final = Limits()
AGENT_DEFAULTS: Final = AgentLimits()
