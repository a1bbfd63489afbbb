"""Answers in groups through the front door."""

import hashlib
from dataclasses import replace
from typing import Any

from farhand.domain.limits import DEFAULTS
from farhand.domain.output import StreamEnd, StreamName
from tests.integration.http.house import House, events, eventually, house, served


def end(data: bytes) -> StreamEnd:
    digest = hashlib.sha256(data).hexdigest()
    return StreamEnd(total=len(data), kept=len(data), sha256_kept=digest, sha256_all=digest)


async def submitted(here: House, *names: str) -> tuple[str, dict[str, str]]:
    """A job for these agents: its id, and the run of each."""
    for name in names:
        await here.joined(name)
    body = {"argv": ["x"], "targets": {"names": list(names)}}
    job = (await here.client.post("/api/v1/jobs", json=body)).json()
    return job["id"], {run["agent"]["name"]: run["id"] for run in job["runs"]}


async def answered(here: House, run: str, out: bytes, err: bytes = b"", **ending: object) -> None:
    """Let a run start, print and end."""
    await here.started(run)
    if out:
        await here.printed(run, out)
    if err:
        await here.printed(run, err, "stderr")
    streams = {StreamName.STDOUT: end(out), StreamName.STDERR: end(err)}
    await here.ended(run, streams=streams, **ending)


async def looked(here: House, job: str, **query: object) -> dict[str, Any]:
    answer = await here.client.get(f"/api/v1/jobs/{job}/groups", params=query)  # type: ignore[arg-type]  # plain values
    assert 200 == answer.status_code, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_the_answers_of_a_job_in_groups() -> None:
    async with house() as here:
        job, runs = await submitted(here, "web-1", "web-2", "web-3", "db-1", "db-2")
        for name in ("web-1", "web-2"):
            await answered(here, runs[name], b"fine\nall\n")
        await answered(here, runs["web-3"], b"fine\nnot all\n")
        await answered(here, runs["db-1"], b"\xff\x00", b"bad disk\n", exit_code=3)
        found = await looked(here, job, diff="true")
        first, *others = found["groups"]

        assert (job, "running") == (found["job"], found["state"])
        assert (5, 4, 1, 0, 1) == tuple(
            found["progress"][name] for name in ("total", "done", "failed", "running", "waiting")
        )
        assert ("web-[1-2]", 2, True, None) == (
            first["hosts"],
            first["count"],
            first["majority"],
            first["diff"],
        )
        assert {"text": "fine\nall\n", "stored": 9, "truncated": False, "cut_bytes": 0} == found[
            "contents"
        ][first["stdout"]]
        assert {"run": runs["web-1"], "agent": "web-1"} == first["example"]
        told = {group["hosts"]: group for group in others}
        assert ["@ line 1", " fine", "-all", "+not all"] == told["web-3"]["diff"]["stdout"]
        assert "/wA=" == found["contents"][told["db-1"]["stdout"]]["base64"]
        assert "stdout" not in told["db-1"]["diff"]
        (failures,) = found["failures"]
        assert ("bad disk", 3, "db-1", 1) == (
            failures["last_line"],
            failures["exit_code"],
            failures["hosts"],
            failures["count"],
        )


async def test_normalisers_are_named_in_the_query() -> None:
    async with house() as here:
        job, runs = await submitted(here, "web-1", "web-2")
        await answered(here, runs["web-1"], b"at 12:00:01 of web-1\n")
        await answered(here, runs["web-2"], b"at 13:00:01 of web-2\n")
        plain = await looked(here, job)
        normalised = await looked(here, job, normalise="times,hostname")
        wrong = await here.client.get(f"/api/v1/jobs/{job}/groups?normalise=dates")

        assert (2, 1) == (len(plain["groups"]), len(normalised["groups"]))
        assert (400, "invalid-query") == (wrong.status_code, wrong.json()["code"])
        assert "times" in wrong.json()["detail"]


async def test_groups_are_told_live_each_content_once() -> None:
    async with house() as here, served(here) as (client, _):
        job, runs = await submitted(here, "web-1", "web-2", "web-3")
        await answered(here, runs["web-1"], b"a")
        async with client.stream("GET", f"/api/v1/jobs/{job}/groups/events") as answer:
            assert "text/event-stream" == answer.headers["content-type"].partition(";")[0]
            told = events(answer.aiter_lines())
            first = await anext(told)
            await answered(here, runs["web-2"], b"a")
            second = await anext(told)
            await answered(here, runs["web-3"], b"b")
            rest = [event async for event in told]

        views, last = [first, second, *rest[:-1]], rest[-1]
        assert {"groups"} == {event.event for event in views}
        assert ("end", 1, {"succeeded": 3}) == (last.event, last.id, last.data["counts"])
        assert "a" == first.data["contents"][first.data["groups"][0]["stdout"]]["text"]
        assert {} == second.data["contents"]
        assert "web-[1-2]" == views[-1].data["groups"][0]["hosts"]
        texts = [found["text"] for view in views for found in view.data["contents"].values()]
        assert ["a", "b"] == texts


async def test_a_reader_who_was_told_of_the_end_is_told_nothing_more() -> None:
    async with house() as here:
        job, runs = await submitted(here, "web-1")
        await here.done(*runs.values())
        path = f"/api/v1/jobs/{job}/groups/events"
        again = await here.client.get(path)
        told = await here.client.get(path, headers={"Last-Event-ID": "1"})

        assert (200, 204) == (again.status_code, told.status_code)
        assert "event: end" in again.text


async def test_no_such_job_has_no_groups() -> None:
    async with house() as here:
        for path in ("groups", "groups/events"):
            answer = await here.client.get(f"/api/v1/jobs/job_nothing/{path}")

            assert (404, "unknown-job") == (answer.status_code, answer.json()["code"])


async def test_more_readers_than_their_share_are_refused() -> None:
    async with house(limits=replace(DEFAULTS, groupings=1)) as here, served(here) as (client, _):
        job, _ = await submitted(here, "web-1")
        async with client.stream("GET", f"/api/v1/jobs/{job}/groups/events") as answer:
            await anext(events(answer.aiter_lines()))
            refused = [
                await here.client.get(f"/api/v1/jobs/{job}/groups{more}")
                for more in ("", "/events")
            ]

            assert [(429, "over-share")] * 2 == [
                (one.status_code, one.json()["code"]) for one in refused
            ]

        async def readers() -> int:
            return here.tenant.groups.count

        await eventually(readers, lambda count: count == 0)
