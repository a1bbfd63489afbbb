"""Both clients ask whom a job is for alike."""

import json

from tests.integration.client.clients import Face
from tests.integration.client.stub import Reply, Stub, told
from tests.integration.client.test_cli_targets import FROZEN, GROUP, PREVIEW, RUN


def test_a_preview_and_a_reason_come_back_as_values(face: Face, stub: Stub) -> None:
    why = {"agent": "web-1", "verdict": "in_job", "message": "it is", "run": RUN}
    stub.on("POST", "/api/v1/jobs", told(PREVIEW))
    stub.on("GET", "/api/v1/jobs/job_1/why", told(why))
    found = face.do("preview", ["true"], preview="pre_0", expect=42)
    explained = face.do("explain", "job_1", "web-1")

    assert {"targets": {"preview": "pre_0"}, "expect": 42, "argv": ["true"]} == json.loads(
        stub.seen[0].body
    )
    assert ("pre_1", 42, "web-[1-42]") == (found.id, found.count, found.hosts)
    assert (2, "web-43", "unsupported") == (
        found.away.count,
        found.drained.hosts,
        found.refusing[0].why,
    )
    assert ("in_job", "run_1") == (explained.verdict, explained.run.id)


def test_groups_and_the_freeze_are_asked_at_their_addresses(face: Face, stub: Stub) -> None:
    stub.on("PUT", "/api/v1/groups/front", told(GROUP))
    stub.on("GET", "/api/v1/groups", told({"items": [GROUP], "next": None}))
    stub.on("DELETE", "/api/v1/groups/front", Reply(204))
    stub.on("PUT", "/api/v1/freeze", told(FROZEN))
    stub.on("GET", "/api/v1/freeze", told({"frozen": False}))
    stub.on("DELETE", "/api/v1/freeze", Reply(204))

    assert "role=web" == face.do("save_group", "front", "role=web").selector
    assert ["front"] == [group.name for group in face.do("saved_groups")]
    assert face.do("remove_group", "front") is None
    assert (True, "incident") == (
        (frozen := face.do("freeze", "incident")).frozen,
        frozen.reason,
    )
    assert not face.do("get_freeze").frozen
    assert face.do("unfreeze") is None
