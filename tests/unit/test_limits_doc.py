"""docs/reference/limits.md says what the code says, and the limits fit each other."""

import re
from dataclasses import fields
from pathlib import Path

import pytest

from farhand.domain.limits import (
    AGENT_DEFAULTS,
    DEFAULTS,
    GIB,
    KIB,
    MIB,
    AgentLimits,
    Limits,
)

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/reference/limits.md").read_text(encoding="utf-8")
PROCESSES: list[tuple[str, Limits | AgentLimits]] = [
    ("Controller", DEFAULTS),
    ("Agent", AGENT_DEFAULTS),
]
BOTH = pytest.mark.parametrize(("heading", "limits"), PROCESSES, ids=["controller", "agent"])

SECONDS = [(86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")]
BYTES = [(GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB"), (1, "B")]


def rows_under(heading: str) -> list[list[str]]:
    """The cells of the table below *heading*, without its head."""
    below = PAGE.split(f"\n## {heading}\n", maxsplit=1)[1].split("\n## ", maxsplit=1)[0]
    lines = [line for line in below.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def human(name: str, value: float) -> str:
    """The value in the largest unit that leaves no fraction."""
    if not name.endswith(("_s", "_bytes")):
        return f"{value:,}"
    units = SECONDS if name.endswith("_s") else BYTES
    size, unit = next(
        (each for each in units if value >= each[0] and not value % each[0]), units[-1]
    )
    return f"{value / size:g} {unit}"


@BOTH
def test_the_page_has_every_limit_with_its_default(
    heading: str, limits: Limits | AgentLimits
) -> None:
    known = {
        f"`{item.name}`": (
            human(item.name, value),
            f"`{value:g}`" if value % 1 else f"`{value:.0f}`",
        )
        for item in fields(limits)
        for value in [getattr(limits, item.name)]
    }

    assert known == {row[0]: (row[1], row[2]) for row in rows_under(heading)}


@BOTH
def test_the_page_has_them_in_the_order_of_the_code_and_says_what_they_bound(
    heading: str, limits: Limits | AgentLimits
) -> None:
    rows = rows_under(heading)

    assert [f"`{item.name}`" for item in fields(limits)] == [row[0] for row in rows]
    assert [] == [row for row in rows if len(row) != 4 or not row[3]]


def test_every_limit_is_heeded_by_some_code() -> None:
    code = "\n".join(
        path.read_text(encoding="utf-8")
        for path in (ROOT / "src/farhand").rglob("*.py")
        if path != ROOT / "src/farhand/domain/limits.py"
    )
    names = [item.name for _, limits in PROCESSES for item in fields(limits)]

    assert [] == [n for n in names if not re.search(rf"(limits|DEFAULTS)\.{n}\b", code)]


# --- how they fit -------------------------------------------------------------------------


@BOTH
def test_every_limit_is_above_nothing(heading: str, limits: Limits | AgentLimits) -> None:
    assert [] == [item.name for item in fields(limits) if getattr(limits, item.name) <= 0]


def test_what_a_job_gets_is_within_what_it_may_ask_for() -> None:
    assert DEFAULTS.run_time_s <= DEFAULTS.run_time_max_s
    assert DEFAULTS.queue_ttl_s <= DEFAULTS.queue_ttl_max_s
    assert DEFAULTS.output_bytes <= DEFAULTS.output_max_bytes


def test_a_heartbeat_may_be_lost_before_the_stream_is_ended_and_that_before_the_lease() -> None:
    assert 2 * DEFAULTS.heartbeat_s <= DEFAULTS.inactivity_s < DEFAULTS.lease_s


def test_the_largest_job_fits_into_a_body_and_into_a_message() -> None:
    job = (
        max(DEFAULTS.argv_bytes, DEFAULTS.script_bytes) + DEFAULTS.stdin_bytes + DEFAULTS.env_bytes
    )

    assert job * 4 // 3 < DEFAULTS.body_bytes  # stdin in base64
    assert job < 4 * MIB


def test_a_frame_of_output_fits_into_a_message_and_into_a_window() -> None:
    assert AGENT_DEFAULTS.chunk_bytes < DEFAULTS.message_bytes
    assert AGENT_DEFAULTS.chunk_bytes <= DEFAULTS.grant_window_bytes <= DEFAULTS.grants_bytes
    assert DEFAULTS.grant_reserve_bytes <= DEFAULTS.grant_window_bytes


def test_an_agent_can_hold_what_one_stream_may_send() -> None:
    assert DEFAULTS.grant_window_bytes <= AGENT_DEFAULTS.spool_bytes
    assert AGENT_DEFAULTS.spool_bytes <= AGENT_DEFAULTS.spool_total_bytes


def test_waiting_to_dial_again_grows() -> None:
    waits = AGENT_DEFAULTS

    assert waits.backoff_first_s < waits.backoff_cap_s < waits.backoff_late_cap_s
