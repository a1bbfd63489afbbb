"""docs/concepts/states.md says what the table of transitions and the `Why` codes say."""

import re
from pathlib import Path

from farhand.domain.run import NEXT, Ending, RunState, Why

PAGE = (Path(__file__).parents[2] / "docs/concepts/states.md").read_text(encoding="utf-8")


def rows_under(heading: str) -> list[list[str]]:
    """The cells of the first table below *heading*, without its head."""
    below = PAGE.split(f"\n## {heading}", maxsplit=1)[1]
    lines = [line for line in below.split("\n## ", maxsplit=1)[0].splitlines() if line[:1] == "|"]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def codes_in(cell: str) -> set[str]:
    return set(re.findall(r"`(\w+)`", cell))


def test_the_page_has_the_table_of_transitions() -> None:
    told = {codes_in(start).pop(): codes_in(ends) for start, ends in rows_under("Transitions")}

    assert {state.value: {to.value for to in NEXT[state]} for state in RunState} == told


def test_the_page_explains_every_why_once() -> None:
    told = [codes_in(row[0]).pop() for row in rows_under("Why")]

    assert sorted(Why) == sorted(told)


def test_each_why_stands_beside_states_in_which_a_run_can_rest() -> None:
    resting = {state.value for state in RunState if state.resting}
    told = {codes_in(row[0]).pop(): set(row[1].split(", ")) for row in rows_under("Why")}

    assert {} == {why: states - resting for why, states in told.items() if states - resting}


def test_what_an_agent_ends_a_run_with_leads_to_a_state_on_the_page() -> None:
    told = {codes_in(row[0]).pop(): set(row[1].split(", ")) for row in rows_under("Why")}
    ended = {why for why in Why if "failed" in told[why] or "timed_out" in told[why]}

    assert {} == {
        why: Ending(why=why).state.value for why in ended if Ending(why=why).state not in told[why]
    }


def test_every_reason_says_what_happened_and_what_to_do() -> None:
    assert [] == [row[0] for row in rows_under("Why") if len(row) != 4 or not all(row)]
