"""People who submit jobs, cancel some and follow some, and do not give up when nobody answers.

A job is *accepted* when its id was answered. Every request that makes something is repeated with
the same Idempotency-Key until it is answered.
"""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import httpx

from farhand.client import AsyncClient, End, Output, RunChanged
from tests.chaos.estate import Estate
from tests.chaos.work import Drawer, Work

AGAIN_S: Final = 0.2
ANSWER_S: Final = 5.0
PATIENCE_S: Final = 600.0
LATER: Final = frozenset({429, 503})


@dataclass
class Followed:
    """What a follower was told: bytes of each stream of each run, and its last state."""

    output: dict[tuple[str, str], bytearray] = field(default_factory=dict)
    states: dict[str, str] = field(default_factory=dict)
    ended: bool = False
    problem: str = ""


@dataclass
class Asked:
    """A job that somebody asked for. *runs*: agent names by run id, once it was accepted."""

    work: Work
    key: str
    job: str = ""
    runs: Mapping[str, str] = field(default_factory=dict)
    cancelled: bool = False
    followed: Followed | None = None


@dataclass
class People:
    """All callers, and the ledger of what they were promised."""

    estate: Estate
    asked: list[Asked] = field(default_factory=list)
    answers: Counter[str] = field(default_factory=Counter)
    answered: list[float] = field(default_factory=list)  # when a job was accepted
    problems: list[str] = field(default_factory=list)
    closed: asyncio.Event = field(default_factory=asyncio.Event)

    def close(self) -> None:
        """Ask for nothing new; what is under way is seen to its end."""
        self.closed.set()

    @property
    def accepted(self) -> list[Asked]:
        return [each for each in self.asked if each.job]

    @property
    def accepted_runs(self) -> dict[str, Asked]:
        return {run: each for each in self.asked for run in each.runs}

    async def work(self, who: str, drawer: Drawer) -> None:
        """One person: submit what is drawn, think, go on, until `close`; then wait for the rest."""
        async with self._client() as http, asyncio.TaskGroup() as tasks:
            while not self.closed.is_set():
                await self._think(drawer.pause_s)
                asked = Asked(drawer.next(), key=f"{who}-{len(self.asked)}")
                self.asked.append(asked)
                await self._submit(http, asked)
                if asked.job and asked.work.cancel_after_s is not None:
                    tasks.create_task(self._cancel(http, asked), name="cancel")
                if asked.job and asked.work.release_after_s is not None:
                    tasks.create_task(self._release(http, asked), name="release")
                if asked.job and asked.work.follow:
                    asked.followed = Followed()
                    tasks.create_task(self._follow(asked, asked.followed), name="follow")

    async def one(self, work: Work) -> None:
        """Submit one job."""
        asked = Asked(work, key=work.nonce)
        self.asked.append(asked)
        async with self._client() as http:
            await self._submit(http, asked)

    async def _think(self, for_s: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(for_s):
                await self.closed.wait()

    def _client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            base_url="http://{}:{}/api/v1".format(*self.estate.front.address),
            headers={"Authorization": f"Bearer {self.estate.token}"},
            timeout=httpx.Timeout(ANSWER_S),
            trust_env=False,
        )

    async def _submit(self, http: httpx.AsyncClient, asked: Asked) -> None:
        path = f"/jobs?wait_s={asked.work.wait_s:g}" if asked.work.wait_s else "/jobs"
        async with asyncio.TaskGroup() as tasks:
            posts = [
                tasks.create_task(
                    self._post(http, path, asked.work.body, key=asked.key), name="post"
                )
                for _ in range(asked.work.posts)
            ]
        answers = [answer for post in posts if (answer := post.result()) is not None]
        found = {(answer["id"], *sorted(run["id"] for run in answer["runs"])) for answer in answers}
        if len(found) > 1:
            self.problems.append(f"one key, more than one job: {sorted(found)}")
        if answers:
            asked.runs = {run["id"]: run["agent"]["name"] for run in answers[0]["runs"]}
            asked.job = answers[0]["id"]
            self.answered.append(time.monotonic())

    async def _release(self, http: httpx.AsyncClient, asked: Asked) -> None:
        await asyncio.sleep(asked.work.release_after_s or 0.0)
        await self._post(http, f"/jobs/{asked.job}/release")

    async def _cancel(self, http: httpx.AsyncClient, asked: Asked) -> None:
        await asyncio.sleep(asked.work.cancel_after_s or 0.0)
        asked.cancelled = True
        await self._post(http, f"/jobs/{asked.job}/cancel")

    async def _post(
        self,
        http: httpx.AsyncClient,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        key: str = "",
    ) -> dict[str, Any] | None:
        """Ask until there is an answer; None when it is a refusal that should not be."""
        while True:
            try:
                headers = {"Idempotency-Key": key} if key else {}
                response = await http.post(path, json=body, headers=headers)
            except httpx.TransportError as exc:
                self.answers[type(exc).__name__] += 1
                await asyncio.sleep(AGAIN_S)
                continue
            self.answers[str(response.status_code)] += 1
            if response.status_code in LATER:
                await asyncio.sleep(AGAIN_S)
                continue
            if response.status_code not in {200, 202}:
                told = response.text[:300]
                self.problems.append(f"POST {path} was answered {response.status_code}: {told}")
                return None
            answer: dict[str, Any] = response.json()
            return answer

    async def _follow(self, asked: Asked, followed: Followed) -> None:
        host, port = self.estate.front.address
        try:
            async with AsyncClient(
                f"http://{host}:{port}", self.estate.token, patience_s=PATIENCE_S
            ) as client:
                async for event in client.follow(asked.job):
                    match event:
                        case Output(run=run, stream=stream, offset=offset, data=data):
                            told = followed.output.setdefault((run, stream), bytearray())
                            if offset != len(told):
                                gap = f"{run} {stream}: told {offset} after {len(told)} bytes"
                                followed.problem = followed.problem or gap
                            told += data
                        case RunChanged(run):
                            followed.states[run.id] = run.state
                        case End():
                            followed.ended = True
        except Exception as exc:  # noqa: BLE001  # whatever it is, the report tells it
            followed.problem = f"{type(exc).__name__}: {exc}"


@dataclass
class Auditor:
    """Looks at the controller now and then, past every proxy: which runs are open, who is there."""

    estate: Estate
    open: dict[str, str] = field(default_factory=dict)  # run id -> state
    online: frozenset[str] = frozenset()
    looked_at: float = 0.0  # when the last look that was answered began

    async def watch(self, every_s: float) -> None:
        """Look until cancelled."""
        async with httpx.AsyncClient(timeout=ANSWER_S, trust_env=False) as http:
            while True:
                with contextlib.suppress(httpx.TransportError, KeyError):
                    await self.look(http)
                await asyncio.sleep(every_s)

    async def look(self, http: httpx.AsyncClient) -> None:
        """Look once; raises httpx.TransportError where nobody answers, KeyError for a refusal."""
        began = time.monotonic()
        states = [("state", state) for state in ("held", "queued", "sent", "running", "lost")]
        runs = {run["id"]: run["state"] for run in await self.all(http, "/runs", states)}
        agents = await self.all(http, "/agents", [])
        self.open = runs
        self.online = frozenset(a["name"] for a in agents if a["liveness"] == "online")
        self.looked_at = began

    async def all(
        self, http: httpx.AsyncClient, path: str, query: list[tuple[str, str]]
    ) -> list[dict[str, Any]]:
        """Every item of a list."""
        items: list[dict[str, Any]] = []
        cursor: str | None = None
        while True:
            more = [("cursor", cursor)] if cursor else []
            answer = (await self.get(http, path, [*query, ("limit", "1000"), *more])).json()
            items += answer["items"]
            cursor = answer["next"]
            if cursor is None:
                return items

    async def get(
        self, http: httpx.AsyncClient, path: str, query: list[tuple[str, str]]
    ) -> httpx.Response:
        """One answer, whatever it is."""
        host, port = self.estate.http
        prefix = "" if path == "/metrics" else "/api/v1"
        return await http.get(
            f"http://{host}:{port}{prefix}{path}",
            params=httpx.QueryParams(tuple(query)),
            headers={"Authorization": f"Bearer {self.estate.token}"},
        )
