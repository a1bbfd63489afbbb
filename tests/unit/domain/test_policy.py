"""The agent's last word: nothing but its catalogue, unless its own configuration says so."""

from dataclasses import replace
from itertools import chain, combinations

import pytest

from farhand.domain.job import Argv, CommandCall, JobSpec, Script
from farhand.domain.policy import AgentPolicy, Permission
from farhand.errors import ConfigError

COMMAND = JobSpec(what=CommandCall("ps", {}))
NEEDS = {
    Permission.ARGV: replace(COMMAND, what=Argv(("id",))),
    Permission.SCRIPT: replace(COMMAND, what=Script("id")),
    Permission.CWD: replace(COMMAND, cwd="/"),
    Permission.USER: replace(COMMAND, user="root"),
}
SUBSETS = list(chain.from_iterable(combinations(Permission, size) for size in range(5)))


def test_the_catalogue_is_allowed_to_everybody() -> None:
    assert AgentPolicy().refusal(COMMAND) is None


@pytest.mark.parametrize("granted", SUBSETS)
def test_each_permission_allows_its_own_thing_only(granted: tuple[Permission, ...]) -> None:
    policy = AgentPolicy(frozenset(granted))

    assert set(granted) == {need for need, spec in NEEDS.items() if policy.refusal(spec) is None}


def test_a_refusal_says_what_would_allow_it() -> None:
    refused = AgentPolicy().refusal(NEEDS[Permission.ARGV])

    assert "this agent does not allow argv; start it with --allow argv if it should" == refused


def test_all_that_a_job_needs_must_be_allowed() -> None:
    both = replace(NEEDS[Permission.ARGV], user="root")

    assert "does not allow user" in str(AgentPolicy.of(["argv"]).refusal(both))
    assert AgentPolicy.of(["argv", "user"]).refusal(both) is None


def test_words_are_read_with_their_spaces_and_empty_ones_are_none() -> None:
    read = AgentPolicy.of([" argv", "", " ", "script ", "argv"])

    assert frozenset({Permission.ARGV, Permission.SCRIPT}) == read.allowed


@pytest.mark.parametrize("word", ["all", "ARGV", "argv script", "*"])
def test_a_word_that_is_not_known_is_an_error(word: str) -> None:
    with pytest.raises(ConfigError, match="--allow knows argv, cwd, script, user; not"):
        AgentPolicy.of(["argv", word])


def test_a_catalogue_command_takes_an_environment_only_where_any_program_may_run() -> None:
    spec = JobSpec(what=CommandCall("who", {}), env={"PATH": "/evil"})

    assert "environment" in (AgentPolicy.of([]).refusal(spec) or "")
    assert AgentPolicy.of(["argv"]).refusal(spec) is None


@pytest.mark.parametrize("granted", SUBSETS)
def test_a_policy_is_told_and_understood(granted: tuple[Permission, ...]) -> None:
    policy = AgentPolicy(frozenset(granted))

    assert policy == AgentPolicy.told_by(("cancel", *policy.told, "allow:more"))


def test_an_agent_that_tells_no_policy_may_allow_anything() -> None:
    assert AgentPolicy.told_by(("cancel", "allow:argv")) is None
