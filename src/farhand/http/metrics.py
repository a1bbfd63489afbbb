"""What the controller does, in numbers, for Prometheus: the process, and the org of whoever asks.

Reads what others count, at the moment it is asked; keeps nothing, and nothing is global.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from fastapi import APIRouter, Depends
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import Response

from farhand.controller.tenants import Tenant
from farhand.domain.ids import OrgId
from farhand.domain.limits import Limits
from farhand.domain.run import RunState
from farhand.http.asked import known_query
from farhand.http.budget import Budget, Pieces
from farhand.http.counts import Counts
from farhand.http.door import Here
from farhand.http.lag import Lag
from farhand.ports import StoreCounters

# Those whose fill is among the numbers.
BOUNDS: Final = (
    *("connections", "requests", "requests_per_caller", "requests_bytes", "readers_bytes"),
    *("followers", "waiting", "open_runs", "rollouts"),
)

_NONE: Final = StoreCounters()


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentsDoor:
    """Who stands at the agents' door.

    *strangers* have not said who they are, *entering* are being let in and *waiting* wait for it;
    the most of these since the start, how many began to enter and how many were sent away for a
    while. *refused* are connections that were closed at once, by why.
    """

    strangers: int = 0
    entering: int = 0
    waiting: int = 0
    most_entering: int = 0
    most_waiting: int = 0
    begun: int = 0
    sent_away: int = 0
    refused: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Elsewhere:
    """What is counted behind other doors, read when somebody asks.

    *stores* by org, where they are counted; *agents* are connections of agents, *outbox_bytes* what
    waits to be taken by all of them, *door* is where they come in.
    """

    stores: Callable[[], Mapping[OrgId, StoreCounters]] = dict
    agents: Callable[[], int] = int
    outbox_bytes: Callable[[], int] = int
    door: Callable[[], AgentsDoor] = AgentsDoor


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Everything that is looked at."""

    version: str
    limits: Limits
    counts: Counts
    budget: Budget
    pieces: Pieces
    lag: Lag
    elsewhere: Elsewhere


router = APIRouter(tags=["health"], dependencies=[Depends(known_query)])


@router.get(
    "/metrics",
    operation_id="getMetrics",
    response_class=Response,
    responses={
        200: {
            "description": "The numbers of this process, and of the caller's org.",
            "content": {"text/plain": {}, "application/openmetrics-text": {}},
        }
    },
)
async def get_metrics(request: Request, here: Here) -> Response:
    """Tell what the controller does, in Prometheus' text format."""
    encode, kind = choose_encoder(request.headers.get("accept", ""))
    registry = CollectorRegistry(auto_describe=False)
    ProcessCollector(registry=registry)
    registry.register(_Numbers(request.app.state.sources, here.tenant))
    return Response(encode(registry), headers={"Content-Type": kind})


class _Numbers(Collector):
    """One look at everything."""

    def __init__(self, sources: Sources, tenant: Tenant) -> None:
        self._from = sources
        self._tenant = tenant

    def collect(self) -> Iterator[Metric]:
        yield from self._process()
        yield from self._door()
        yield from self._agents_door()
        yield from self._org()
        yield from self._store()

    def _process(self) -> Iterator[Metric]:
        it = self._from
        yield _labelled("build_info", "The version that runs.", "version", {it.version: 1})
        yield _counter("loop_probes", "Looks at the event loop.", it.lag.probes)
        yield _counter("loop_late_seconds", "How late they were, together.", it.lag.total_s)
        told = "How late the event loop was at worst within the last minute."
        yield _gauge("loop_late_worst_seconds", told, it.lag.worst_s)
        told = "Tasks of the event loop."
        yield _gauge("loop_tasks", told, len(asyncio.all_tasks()))
        bounds = {name: float(getattr(it.limits, name)) for name in BOUNDS}
        yield _labelled("limit", "What is bounded, and how.", "bound", bounds)
        yield _gauge("agent_connections", "Connections of agents.", it.elsewhere.agents())
        told = "What waits to be taken by all agents."
        yield _gauge("agent_outbox_bytes", told, it.elsewhere.outbox_bytes())

    def _door(self) -> Iterator[Metric]:
        it, counts = self._from, self._from.counts
        answers = CounterMetricFamily(
            "farhand_http_answers", "Answers by HTTP status.", labels=["status"]
        )
        for status, count in sorted(counts.answers.items()):
            answers.add_metric([str(status)], count)
        yield answers
        refused = CounterMetricFamily(
            "farhand_http_refused", "Refused requests by the code of the error.", labels=["code"]
        )
        for code, count in sorted(counts.refused.items()):
            refused.add_metric([code], count)
        yield refused
        yield _gauge("http_requests", "Requests that are being answered.", counts.requests)
        yield _gauge("http_connections", "Connections of people.", counts.connections)
        yield _gauge("http_handshakes", "Those not through with TLS.", counts.handshakes)
        told = "Bodies and large answers in memory."
        yield _gauge("http_requests_bytes", told, it.budget.used)
        told = "Output on its way to downloads."
        yield _gauge("http_readers_bytes", told, it.pieces.used)
        told = "Readers that took nothing and were let go."
        yield _counter("http_stuck_readers", told, counts.stuck)
        told = "How often the system gave no socket for a connection."
        yield _counter("http_accept_failures", told, counts.accept_failures)

    def _agents_door(self) -> Iterator[Metric]:
        door = self._from.elsewhere.door()
        for name, told, value in (
            ("strangers", "Connections of agents that have not said who they are.", door.strangers),
            ("entering", "Agents that are being let in.", door.entering),
            ("entering_most", "The most of these at once so far.", door.most_entering),
            ("waiting", "Agents that wait to be let in.", door.waiting),
            ("waiting_most", "The most of these at once so far.", door.most_waiting),
        ):
            yield _gauge(f"agents_{name}", told, value)
        yield _counter("agents_entered", "How often an agent's turn came.", door.begun)
        told = "How often an agent was told to come back later."
        yield _counter("agents_sent_away", told, door.sent_away)
        refused = CounterMetricFamily(
            "farhand_agents_refused", "Connections of agents closed at once.", labels=["why"]
        )
        for why, count in sorted(door.refused.items()):
            refused.add_metric([why], count)
        yield refused

    def _org(self) -> Iterator[Metric]:
        tenant = self._tenant
        yield self._of("sessions", "Agents that are connected.", len(tenant.sessions))
        yield self._of("followers", "Who follows a job.", tenant.followers.count)
        yield self._of("waiting", "Who waits for a job.", tenant.followers.waiting)
        yield self._of("rollouts", "Jobs that are being spread.", len(tenant.jobs.rollouts))

    def _store(self) -> Iterator[Metric]:
        store = self._from.elsewhere.stores().get(self._tenant.org, _NONE)
        moved = CounterMetricFamily(
            "farhand_runs_moved", "Runs that came into a state.", labels=["org", "state"]
        )
        for state in RunState:
            moved.add_metric([self._tenant.org, state.value], store.moved.get(state, 0))
        yield moved
        for name, told, value in (
            ("output_kept_bytes", "Output that was kept.", store.kept_bytes),
            ("store_commits", "Transactions that were committed.", store.commits),
            ("store_changes", "Changes in them.", store.changes),
            ("store_failures", "Transactions that were rolled back.", store.failures),
            ("store_flushes", "Flushes to the disk.", store.flushes),
            ("store_commit_seconds", "Time in commits, flush of the log included.", store.commit_s),
            ("store_flush_seconds", "Time in the other flushes.", store.flush_s),
        ):
            yield self._of(name, told, value, family=CounterMetricFamily)
        for name, told, value in (
            ("output_stored_bytes", "Output that is there now.", store.stored_bytes),
            ("store_longest_seconds", "The longest transaction so far.", store.longest_s),
            ("store_queued_changes", "Changes on their way to the disk.", store.queued),
            ("store_queued_bytes", "About how many bytes they have.", store.queued_bytes),
            ("store_outside", "Calls that wait for room in that queue.", store.outside),
        ):
            yield self._of(name, told, value)

    def _of(
        self,
        name: str,
        told: str,
        value: float,
        family: type[CounterMetricFamily | GaugeMetricFamily] = GaugeMetricFamily,
    ) -> Metric:
        made = family(f"farhand_{name}", told, labels=["org"])
        made.add_metric([self._tenant.org], value)
        return made


def _gauge(name: str, told: str, value: float) -> Metric:
    return GaugeMetricFamily(f"farhand_{name}", told, value)


def _counter(name: str, told: str, value: float) -> Metric:
    return CounterMetricFamily(f"farhand_{name}", told, value)


def _labelled(name: str, told: str, label: str, values: Mapping[str, float]) -> Metric:
    made = GaugeMetricFamily(f"farhand_{name}", told, labels=[label])
    for of, value in values.items():
        made.add_metric([of], value)
    return made
