"""What only the asynchronous client promises."""

import asyncio
import threading
from collections.abc import Iterator

import pytest

from farhand.client import AsyncClient, Output
from tests.integration.client.stub import Stub, accepted, ended, live, output, stream, told

EVENTS = "/api/v1/jobs/job_1/events"


async def test_many_jobs_are_followed_at_once(stub: Stub) -> None:
    both = threading.Barrier(2, timeout=10)

    def parts(data: bytes) -> Iterator[bytes]:
        yield output(1, "run_1", 0, data)
        both.wait()  # neither stream ends before the other has begun
        yield ended(2)

    for job, data in (("job_1", b"one"), ("job_2", b"two")):
        stub.on("GET", f"/api/v1/jobs/{job}/events", live(parts(data)))

    async with AsyncClient(stub.url, "secret") as client:

        async def printed(job: str) -> bytes:
            events = [event async for event in client.follow(job)]
            return b"".join(event.data for event in events if isinstance(event, Output))

        assert (b"one", b"two") == tuple(await asyncio.gather(printed("job_1"), printed("job_2")))


async def test_a_cancelled_follower_leaves_a_client_that_works(stub: Stub) -> None:
    release = threading.Event()
    begun = asyncio.Event()

    def parts() -> Iterator[bytes]:
        yield output(1, "run_1", 0, b"x")
        release.wait(10)

    stub.on("GET", EVENTS, live(parts()))
    stub.on("GET", "/readyz", told({"status": "ok"}))

    async with AsyncClient(stub.url, "secret") as client:

        async def follow() -> None:
            async for _ in client.follow("job_1"):
                begun.set()

        task = asyncio.create_task(follow(), name="follow")
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

        assert "ok" == await client.health()
    release.set()


async def test_a_result_is_bounded_by_what_was_asked_for(stub: Stub) -> None:
    stub.on("POST", "/api/v1/jobs", accepted("web-1"))
    stub.on("GET", EVENTS, stream(output(1, "run_1", 0, b"abcdef"), ended(2)))

    async with AsyncClient(stub.url, "secret") as client:
        job = await client.run(["x"], names=["web-1"])
        (run,) = (await job.result(keep_bytes=4)).runs

    assert (b"abcd", True) == (run.stdout, run.truncated)


async def test_a_job_can_be_cancelled(stub: Stub) -> None:
    stub.on("POST", "/api/v1/jobs/job_1/cancel", told({"id": "job_1", "cancel_requested": True}))

    async with AsyncClient(stub.url, "secret") as client:
        assert (await client.follow("job_1").cancel()).cancel_requested
