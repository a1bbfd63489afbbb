"""Output that is not kept any more, through the front door: the record stays, the bytes do not."""

import json
from collections.abc import Mapping

from farhand.domain.ids import RunId
from farhand.domain.output import StreamName
from farhand.ports import PruneOutput
from farhand.storage.memory import MemoryStore
from tests.integration.http.house import House, house, served
from tests.integration.http.test_groups import answered, looked, submitted
from tests.integration.http.test_metrics import numbers, of


async def pruned(here: House) -> tuple[str, str]:
    """A job whose run failed and printed to both streams, and whose output was deleted since."""
    job, runs = await submitted(here, "web-1")
    run = runs["web-1"]
    await answered(here, run, b"1234567\n", b"no disk\n", exit_code=1)
    await here.tenant.store.apply([PruneOutput(before=1e12)])
    return job, run


async def test_its_bytes_are_gone_and_its_record_is_not() -> None:
    async with house() as here:
        _, run = await pruned(here)
        got = await here.client.get(f"/api/v1/runs/{run}/output")
        head = await here.client.head(f"/api/v1/runs/{run}/output?stream=stderr")
        part = await here.client.get(f"/api/v1/runs/{run}/output", headers={"Range": "bytes=2-"})
        shown = (await here.client.get(f"/api/v1/runs/{run}")).json()

        assert (410, "output-pruned", run) == (
            got.status_code,
            got.json()["code"],
            got.json()["run"],
        )
        assert (410, 410) == (head.status_code, part.status_code)
        assert (True, "failed", 8) == (
            shown["output_pruned"],
            shown["state"],
            shown["streams"]["stdout"]["total"],
        )


async def test_what_printed_nothing_was_not_pruned() -> None:
    async with house() as here:
        await here.joined("web-1")
        _, run = await here.submitted(targets={"names": ["web-1"]})
        await here.done(run)
        await here.tenant.store.apply([PruneOutput(before=1e12)])
        got = await here.client.get(f"/api/v1/runs/{run}/output")

        assert (200, b"") == (got.status_code, got.content)


class _Pruning(MemoryStore):
    """A store whose output is pruned just before somebody asks how much there is."""

    pruning = False

    async def offsets(self, run: RunId) -> Mapping[StreamName, int]:
        if self.pruning:
            await self.apply([PruneOutput(before=1e12)])
        return await super().offsets(run)


async def test_output_that_goes_while_it_is_asked_for_is_no_empty_output() -> None:
    store = _Pruning()
    async with house(store=store) as here:
        _, runs = await submitted(here, "web-1")
        await answered(here, runs["web-1"], b"hello")
        store.pruning = True
        got = await here.client.get(f"/api/v1/runs/{runs['web-1']}/output")

        assert (410, "output-pruned") == (got.status_code, got.json()["code"])


async def test_groups_are_told_without_their_content() -> None:
    async with house() as here:
        job, _ = await pruned(here)
        plain = await looked(here, job, diff="true")
        normal = await looked(here, job, normalise="numbers")
        (group,) = plain["groups"]
        (failures,) = plain["failures"]

        assert (True, None, None, {}) == (
            group["output_pruned"],
            group["stdout"],
            group["stderr"],
            plain["contents"],
        )
        assert (1, "web-1", None) == (group["count"], group["hosts"], failures["last_line"])
        assert [group] == [{**one, "diff": group["diff"]} for one in normal["groups"]]


async def test_outputs_that_are_gone_stay_apart_whatever_is_compared() -> None:
    async with house() as here:
        job, runs = await submitted(here, "web-1", "web-2", "web-3")
        for name, data in (("web-1", b"a\n"), ("web-2", b"a\n"), ("web-3", b"b\n")):
            await answered(here, runs[name], data)
        await here.tenant.store.apply([PruneOutput(before=1e12)])
        found = await looked(here, job, normalise="numbers", diff="true")

        assert [(2, None), (1, None)] == [(one["count"], one["diff"]) for one in found["groups"]]


async def test_who_follows_is_told_the_states_and_the_end() -> None:
    async with house() as here:
        job, _ = await pruned(here)
        answer = await here.client.get(f"/api/v1/jobs/{job}/events")
        kinds = [line[7:] for line in answer.text.splitlines() if line.startswith("event: ")]
        last = [json.loads(line[6:]) for line in answer.text.splitlines() if line[:5] == "data:"]

        assert ["run", "run", "run", "end"] == kinds
        assert {"failed": 1} == last[-1]["counts"]


async def test_a_repeated_question_that_waits_tells_that_nothing_is_stored() -> None:
    async with house() as here:
        await here.joined("web-1")
        body = {"argv": ["true"], "targets": {"names": ["web-1"]}}
        key = {"Idempotency-Key": "k"}
        first = await here.client.post("/api/v1/jobs", json=body, headers=key)
        run = first.json()["runs"][0]["id"]
        await answered(here, run, b"hello")
        await here.tenant.store.apply([PruneOutput(before=1e12)])
        again = await here.client.post("/api/v1/jobs?wait_s=5", json=body, headers=key)
        (result,) = again.json()["runs"]

        assert result["output_pruned"]
        assert {"text": "", "stored": 0, "truncated": False} == result["stdout"]


async def test_stored_output_is_among_the_numbers() -> None:
    async with house() as here, served(here) as (client, _):
        found = await numbers(client)

        assert 0 == found["farhand_output_stored_bytes", of(here)]
