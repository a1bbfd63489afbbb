"""Runs through the front door: what became of them, and the bytes they printed."""

import pytest

from farhand.domain.output import StreamEnd, StreamName
from tests.integration.http.house import House, house


async def printed(here: House, data: bytes = b"0123456789") -> str:
    """Return a run that has printed *data* and runs on."""
    if not (await here.tenant.store.agents()).items:
        await here.joined("web-1")
    _, run = await here.submitted(targets={"all": True})
    await here.started(run)
    await here.printed(run, data)
    return run


async def test_output_is_sent_raw_while_the_run_goes_on() -> None:
    async with house() as here:
        run = await printed(here, b"\x00\xff\n")
        answer = await here.client.get(f"/api/v1/runs/{run}/output")

        assert b"\x00\xff\n" == answer.content
        assert "application/octet-stream" == answer.headers["content-type"]
        assert "3" == answer.headers["content-length"]
        assert "running" == answer.headers["farhand-run-state"]
        assert "farhand-output-total" not in answer.headers


async def test_the_streams_are_apart() -> None:
    async with house() as here:
        run = await printed(here)
        await here.printed(run, b"oops", "stderr")
        out, err = [
            (await here.client.get(f"/api/v1/runs/{run}/output?stream={name}")).content
            for name in ("stdout", "stderr")
        ]

        assert (b"0123456789", b"oops") == (out, err)


async def test_a_cut_is_told() -> None:
    async with house() as here:
        run = await printed(here)
        end = StreamEnd(total=110, kept=10, cut_at=4, cut_bytes=100)
        await here.ended(run, streams={StreamName.STDOUT: end})
        answer = await here.client.get(f"/api/v1/runs/{run}/output")

        assert "succeeded" == answer.headers["farhand-run-state"]
        assert "110" == answer.headers["farhand-output-total"]
        assert "at=4, bytes=100" == answer.headers["farhand-output-cut"]


@pytest.mark.parametrize(
    ("asked", "status", "body", "place"),
    [
        ("bytes=2-4", 206, b"234", "bytes 2-4/10"),
        ("bytes=-3", 206, b"789", "bytes 7-9/10"),
        ("bytes=8-", 206, b"89", "bytes 8-9/10"),
        ("bytes=0-0,9-9", 200, b"0123456789", None),
        ("pages=1", 200, b"0123456789", None),
    ],
)
async def test_a_range_is_sent(asked: str, status: int, body: bytes, place: str | None) -> None:
    async with house() as here:
        run = await printed(here)
        url = f"/api/v1/runs/{run}/output"
        answer = await here.client.get(url, headers={"Range": asked})
        head = await here.client.head(url, headers={"Range": asked})

        assert (status, body) == (answer.status_code, answer.content)
        assert place == answer.headers.get("content-range")
        assert str(len(body)) == answer.headers["content-length"]
        assert (status, b"") == (head.status_code, head.content)
        assert answer.headers["content-length"] == head.headers["content-length"]


async def test_a_range_behind_the_end_is_refused_with_the_length() -> None:
    async with house() as here:
        run = await printed(here)
        url = f"/api/v1/runs/{run}/output"
        answer = await here.client.get(url, headers={"Range": "bytes=10-"})

        assert (416, "invalid-range") == (answer.status_code, answer.json()["code"])
        assert "bytes */10" == answer.headers["content-range"]


async def test_large_output_comes_whole() -> None:
    data = bytes(range(256)) * 4099  # no multiple of what is read at once
    async with house() as here:
        run = await printed(here, data)
        answer = await here.client.get(f"/api/v1/runs/{run}/output")

        assert data == answer.content


async def test_runs_are_chosen_by_job_agent_and_state() -> None:
    async with house() as here:
        web, db = [await here.joined(name) for name in ("web-1", "db-1")]
        first = (
            await here.client.post(
                "/api/v1/jobs", json={"targets": {"all": True}, "argv": ["true"]}
            )
        ).json()
        second, other = await here.submitted(targets={"names": ["web-1"]})
        await here.done(other)

        async def chosen(**params: object) -> list[str]:
            answer = await here.client.get("/api/v1/runs", params=params)  # type: ignore[arg-type] # of tests
            return [run["id"] for run in answer.json()["items"]]

        one, two = [run["id"] for run in first["runs"]]
        assert [one, two] == await chosen(job=first["id"])
        assert [other] == await chosen(job=second)
        assert {one, other} == set(await chosen(agent="web-1"))
        assert [two] == await chosen(agent=db.id)
        assert [other] == await chosen(agent=web.id, state="succeeded")
        assert {one, two} == set(await chosen(state=["queued", "sent"]))


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ("state=sleeping", 400, "invalid-query"),
        ("agent=nobody", 404, "unknown-agent"),
        ("job=nonsense", 404, "unknown-job"),
        ("cursor=nonsense", 400, "invalid-cursor"),
        ("limit=0", 400, "invalid-query"),
        ("limit=1001", 400, "invalid-query"),
        ("states=queued", 400, "invalid-query"),
    ],
)
async def test_a_choice_that_cannot_be_is_refused(query: str, status: int, code: str) -> None:
    async with house() as here:
        answer = await here.client.get(f"/api/v1/runs?{query}")

        assert (status, code) == (answer.status_code, answer.json()["code"])


@pytest.mark.parametrize("path", ["", "/output"])
async def test_a_run_that_is_not_there_is_unknown(path: str) -> None:
    async with house() as here:
        answer = await here.client.get(f"/api/v1/runs/run_01m850v554e0r8bz4neyzzf55m{path}")

        assert (404, "unknown-run") == (answer.status_code, answer.json()["code"])
