"""What only the blocking client promises."""

import threading
from collections.abc import Iterator

import pytest

from farhand.client import Client, Output, TimedOut
from tests.integration.client.stub import Stub, accepted, ended, live, output, stream, told

EVENTS = "/api/v1/jobs/job_1/events"


def test_a_job_can_be_cancelled_from_another_thread_while_it_is_followed(stub: Stub) -> None:
    cancelled = threading.Event()

    def parts() -> Iterator[bytes]:
        yield output(1, "run_1", 0, b"begun")
        assert cancelled.wait(10)
        yield ended(2, cancelled=1)

    stub.on("POST", "/api/v1/jobs", accepted("web-1"))
    stub.on("GET", EVENTS, live(parts()))
    stub.on("POST", "/api/v1/jobs/job_1/cancel", told({"id": "job_1"}, 202))
    with Client(stub.url, "secret") as client:
        job = client.run(["sleep"], names="web-1")
        kinds = []
        for event in job:
            kinds.append(type(event).__name__)
            if isinstance(event, Output):
                thread = threading.Thread(target=job.cancel, name="cancel")
                thread.start()
                thread.join()
                cancelled.set()

    assert ["Output", "End"] == kinds


def test_waiting_has_a_limit(stub: Stub) -> None:
    stub.on("GET", "/api/v1/jobs/job_1", told({"id": "job_1", "state": "running"}))

    with Client(stub.url, "secret") as client, pytest.raises(TimedOut):
        client.follow("job_1").wait(timeout_s=0.1)


def test_each_iteration_begins_at_the_first_event(stub: Stub) -> None:
    stub.on("GET", EVENTS, stream(output(1, "run_1", 0, b"x"), ended(2)))

    with Client(stub.url, "secret") as client:
        job = client.follow("job_1")
        assert [2, 2] == [len(list(job)), len(list(job))]


def test_output_comes_as_soon_as_it_is_sent(stub: Stub) -> None:
    seen = threading.Event()

    def parts() -> Iterator[bytes]:
        yield output(1, "run_1", 0, b"first")
        assert seen.wait(10)
        yield ended(2)

    stub.on("GET", EVENTS, live(parts()))
    with Client(stub.url, "secret") as client:
        for event in client.follow("job_1"):
            if isinstance(event, Output):
                seen.set()

    assert seen.is_set()


def test_what_must_not_be_sent_twice_gets_a_new_connection(stub: Stub) -> None:
    stub.on("GET", "/readyz", told({"status": "ok"}))
    stub.on("DELETE", "/api/v1/agents/web-1", told({}))
    with Client(stub.url, "secret") as client:
        client.health()
        client.remove("web-1")
        client.health()

    assert 2 == stub.connections
