"""DeepFlow's catalogue: the ten commands, their idents, and what values they take."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farhand.domain.deepflow.catalogue import (
    OFFERS,
    argv_of,
    ident_of,
    look_up,
    offer,
    problem_with,
)
from farhand.domain.deepflow.messages import CommandParam, OutputKind, Parameter, ParamKind

STRACE = "system_t5t_--s9L_--p13s_$t5t_s4e_-f_-p_$pid"

# --- idents -------------------------------------------------------------------------------

IDENTS = [
    ("lsns", "system_l2s"),
    ("top", "system_top_-b_-n_1_-c_-w_512"),
    ("ps", "system_ps_a2f"),
    ("ip address", "system_ip_a5s"),
    ("date", "system_d2e"),
    ("netstat", "system_n5t_-t2p"),
    ("strace", STRACE),
    ("kubectl -n $ns describe pod $pod", "kubernetes_k5l_-n_$ns_d6e_pod_$pod"),
    ("kubectl -n $ns logs --tail=10000 $pod", "kubernetes_k5l_-n_$ns_l2s_--t80_$pod"),
    ("kubectl -n $ns logs --tail=10000 -p $pod", "kubernetes_k5l_-n_$ns_l2s_--t80_-p_$pod"),
]


def test_the_ten_commands_have_their_names_and_idents_in_order() -> None:
    assert IDENTS == [(each.command.cmd, each.command.ident) for each in OFFERS]


def test_the_ten_commands_print_text_and_need_all_their_parameters() -> None:
    params = [param for each in OFFERS for param in each.command.params]

    assert {OutputKind.TEXT} == {each.command.output for each in OFFERS}
    assert {(True, ParamKind.TEXT)} == {(param.required, param.kind) for param in params}
    assert 8 == len(params)


@pytest.mark.parametrize(
    ("cmdline", "ident"),
    [
        ("netstat -tulnp", "system_n5t_-t3p"),  # for a while, in June 2025
        (
            "timeout --preserve-status $timeout strace -f -p $pid",  # v6.5
            "system_t5t_--p13s_$t5t_s4e_-f_-p_$pid",
        ),
        ("abc abcd", "system_abc_a2d"),
        ("-- - $", "system_--_-_$"),
        ("", "system"),
    ],
)
def test_an_ident_shortens_each_word_and_keeps_what_it_begins_with(
    cmdline: str, ident: str
) -> None:
    assert ident == ident_of("system", cmdline)


def test_two_commands_may_have_one_ident_and_the_first_is_run() -> None:
    kill, okay = offer("test", "sh /a/kill9.sh"), offer("test", "sh /a/okerr.sh")

    assert "test_sh_/9h" == kill.command.ident == okay.command.ident
    assert kill is look_up("test_sh_/9h", (kill, okay))
    assert None is look_up("test_sh", (kill, okay))


def test_a_word_of_any_script_has_an_ident() -> None:
    assert "system_é3n_--日2語" == ident_of("system", "éléan --日本国語")


@given(st.text(max_size=40))
def test_any_text_has_an_ident_without_spaces(cmdline: str) -> None:
    assert 1 == len(ident_of("system", cmdline).split())


# --- parameters ---------------------------------------------------------------------------


def named(name: str, pattern: str | None = None, *, required: bool | None = True) -> CommandParam:
    return CommandParam(name=name, regex=pattern, required=required)


def strace(**values: str | None) -> str | None:
    found = look_up(STRACE)
    assert found is not None
    return problem_with(found.command.params, [Parameter(k, v) for k, v in values.items()])


def test_values_that_match_in_full_are_taken() -> None:
    assert strace(timeout="1s", pid="42") is None


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"pid": "1"}, "param `timeout` not found"),
        ({"timeout": None, "pid": "1"}, "param `timeout` not found"),
        ({"timeout": "", "pid": "1"}, "param `timeout` is invalid"),
        ({"timeout": "1", "pid": ""}, "param `timeout` is invalid"),
        ({"timeout": "1s"}, "param `pid` not found"),
        ({"timeout": "1s", "pid": "1 2"}, "param `pid` is invalid"),
        ({"timeout": "1s\n", "pid": "1"}, "param `timeout` is invalid"),
        ({"timeout": "1s", "pid": "1\n"}, "param `pid` is invalid"),
        ({"timeout": "x1s", "pid": "1"}, "param `timeout` is invalid"),
    ],
)
def test_the_first_parameter_that_is_wrong_is_named(
    values: dict[str, str | None], problem: str
) -> None:
    assert problem == strace(**values)


@pytest.mark.parametrize("value", ["a-b_C9", "-"])
def test_without_a_pattern_letters_digits_dash_and_underscore_are_taken(value: str) -> None:
    assert problem_with([named("x")], [Parameter("x", value)]) is None


@pytest.mark.parametrize("value", ["a b", "a/b", "é", "a\n", ";"])
def test_without_a_pattern_nothing_else_is_taken(value: str) -> None:
    assert "param `x` is invalid" == problem_with([named("x")], [Parameter("x", value)])


def test_a_pattern_that_is_not_anchored_is_matched_in_full_all_the_same() -> None:
    assert problem_with([named("x", "[0-9]+")], [Parameter("x", "12")]) is None
    assert "param `x` is invalid" == problem_with([named("x", "[0-9]+")], [Parameter("x", "a12")])


@pytest.mark.parametrize("given_", [[], [Parameter("x", "")], [Parameter("x")]])
@pytest.mark.parametrize("required", [False, None])
def test_an_optional_parameter_may_be_missing_or_empty(
    given_: list[Parameter], required: bool | None
) -> None:
    assert problem_with([named("x", "^a$", required=required)], given_) is None


def test_an_optional_parameter_with_a_value_must_match() -> None:
    optional = [named("x", "^a$", required=False)]

    assert "param `x` is invalid" == problem_with(optional, [Parameter("x", "b")])


def test_the_first_of_several_values_counts_even_if_it_is_none() -> None:
    assert problem_with([named("x")], [Parameter("x", "a"), Parameter("x", ";")]) is None
    assert "param `x` not found" == problem_with(
        [named("x")], [Parameter("x"), Parameter("x", "a")]
    )


def test_what_nobody_declared_is_ignored() -> None:
    assert problem_with([], [Parameter("y", "; rm -rf /"), Parameter()]) is None


def test_whoever_checks_foreign_patterns_brings_the_matching_along() -> None:
    asked: list[tuple[str, str]] = []

    def matches(pattern: str, value: str) -> bool:
        asked.append((pattern, value))
        return False

    problem = problem_with([named("x", "(a+)+$")], [Parameter("x", "a!")], matches=matches)

    assert "param `x` is invalid" == problem
    assert [("(a+)+$", "a!")] == asked


def test_a_value_becomes_one_word_of_the_command_whatever_is_in_it() -> None:
    given_ = [Parameter("ns", "a b"), Parameter("pod", "-x")]

    assert ["kubectl", "-n", "a b", "describe", "pod", "-x"] == argv_of(
        "kubectl -n $ns describe pod $pod", given_
    )
    assert ["ls"] == argv_of("ls $where", [])
