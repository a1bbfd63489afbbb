"""Documents of any shape come back as they were, also from an older version's text."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from farhand.domain.job import AllAgents, Argv, CommandCall, JobSpec, Names, Script, Targets, What
from farhand.domain.selector import Selector
from farhand.storage.documents import body_of, document_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Paper:
    KIND: ClassVar[str] = "paper"

    id: str
    version: int = 0
    spec: JobSpec = field(default_factory=lambda: JobSpec(what=Argv(("true",))))
    targets: Targets = field(default_factory=AllAgents)
    numbers: Mapping[str, float] = field(default_factory=dict)
    due_at: float | None = None


def again(paper: Paper) -> Paper:
    return document_of(Paper, paper.version, body_of(paper))


def test_every_kind_of_job_and_target_comes_back() -> None:
    whats: list[What] = [Argv(("ls", "-l")), Script("echo ä\n"), CommandCall("ping", {"host": "a"})]
    targets: list[Targets] = [AllAgents(), Names(("a", "b")), Selector("role=web")]
    papers = [
        Paper(id="p", version=3, spec=JobSpec(what=what, stdin=b"\xff\0"), targets=target)
        for what in whats
        for target in targets
    ]

    assert papers == [again(paper) for paper in papers]


def test_numbers_that_json_has_no_word_for_come_back() -> None:
    paper = Paper(id="p", numbers={"most": float("inf")}, due_at=1.5)

    assert paper == again(paper)


def test_the_text_of_another_version_is_read() -> None:
    told = json.loads(body_of(Paper(id="p")))
    del told["numbers"]
    told["of_a_newer_version"] = 1

    assert Paper(id="p", version=7) == document_of(Paper, 7, json.dumps(told))
