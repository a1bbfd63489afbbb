"""What a DeepFlow server may ask this host for, and what is refused in which words."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farhand.agent.catalogue import Catalogue
from farhand.agent.deepflow.offers import TYPE_NAME, Errand, Offers, Refusal
from farhand.agent.diagnosis import ENTRIES
from farhand.agent.entry import Entry
from farhand.domain.command import Command, OutputFormat, Param, ParamType
from farhand.domain.deepflow.catalogue import OFFERS
from farhand.domain.deepflow.messages import CommandParam, OutputKind, Parameter, ParamKind

DUMP = Entry(
    command=Command(
        ident="dump",
        output=OutputFormat.BINARY,
        params=(
            Param(name="what", required=True, description="a name"),
            Param(name="count", type=ParamType.INT, default="3", minimum=1, maximum=9),
            Param(name="loud", type=ParamType.BOOL),
        ),
    ),
    argv=("dumper", "{what}", "-n", "{count}", "{loud:--loud}"),
    timeout_s=7.0,
)
STRACE = "system_t5t_--s9L_--p13s_$t5t_s4e_-f_-p_$pid"
DESCRIBE = "kubernetes_k5l_-n_$ns_d6e_pod_$pod"


def offers(*, kubectl: bool = True) -> Offers:
    return Offers(Catalogue((*ENTRIES, DUMP)), lambda program: kubectl and program == "kubectl")


def found(ident: str, **values: str | None) -> Errand | Refusal:
    return offers().resolve(ident, [Parameter(*item) for item in values.items()])


def test_deepflows_commands_are_listed_first_and_then_the_hosts() -> None:
    listed = offers().listed()

    assert [each.command for each in OFFERS] == list(listed[:10])
    assert [each.ident for each in listed[10:]] == sorted(
        entry.command.ident for entry in (*ENTRIES, DUMP)
    )
    assert {TYPE_NAME} == {each.type_name for each in listed[10:]}


def test_kubectl_is_offered_only_where_it_is() -> None:
    types = {each.type_name for each in offers(kubectl=False).listed()}

    assert {"system", TYPE_NAME} == types


def test_a_command_of_the_host_is_shown_with_its_parameters() -> None:
    shown = next(each for each in offers().listed() if each.ident == "dump")

    assert ("dump", OutputKind.BINARY) == (shown.cmd, shown.output)
    assert ["what", "count", "loud"] == [param.name for param in shown.params]
    first, _, last = shown.params
    assert isinstance(first, CommandParam)
    assert (True, "a name", ParamKind.TEXT) == (first.required, first.description, first.kind)
    assert (False, None, ParamKind.BOOLEAN) == (last.required, last.description, last.kind)


def test_no_ident_of_the_hosts_can_hide_one_of_deepflows() -> None:
    assert all("_" in (each.command.ident or "") for each in OFFERS)
    assert not any("_" in entry.command.ident for entry in ENTRIES)


def test_a_command_of_deepflows_becomes_its_words() -> None:
    errand = found(STRACE, pid="12", timeout="3s")

    assert isinstance(errand, Errand)
    assert "timeout --signal=KILL --preserve-status 3s strace -f -p 12" == " ".join(errand.argv)
    assert OFFERS[6].cmdline == errand.cmdline
    assert Errand(cmdline="lsns") == found("system_l2s")


def test_a_command_of_the_hosts_becomes_its_words_too() -> None:
    errand = found("dump", what="x", count="", loud=None, other="passed over")

    assert isinstance(errand, Errand)
    assert (("dumper", "x", "-n", "3"), 7.0) == (errand.argv, errand.timeout_s)


@pytest.mark.parametrize(
    ("ident", "values", "told"),
    [
        ("nothing", {}, "command not found for id nothing"),
        ("", {}, "command not found for id "),
        (STRACE, {"pid": "1"}, "param `timeout` not found"),
        (STRACE, {"pid": "1\n", "timeout": "1s"}, "param `pid` is invalid"),
        (STRACE, {"pid": "1", "timeout": ""}, "param `timeout` is invalid"),
        (STRACE, {"pid": "1", "timeout": "1s; id"}, "param `timeout` is invalid"),
        (DESCRIBE, {"ns": "a", "pod": "--all-namespaces"}, "param `pod` is invalid"),
        (DESCRIBE, {"ns": "-A", "pod": "a"}, "param `ns` is invalid"),
        ("dump", {}, "param `what` not found"),
        ("dump", {"what": None}, "param `what` not found"),
        ("dump", {"what": ""}, "param `what` is invalid"),
        ("dump", {"what": "--help"}, "param `what` is invalid"),
        ("dump", {"what": "x", "count": "10"}, "param `count` is invalid"),
        ("dump", {"what": "x", "loud": "maybe"}, "param `loud` is invalid"),
    ],
)
def test_what_cannot_be_is_refused_in_deepflows_words(
    ident: str, values: dict[str, str | None], told: str
) -> None:
    refusal = found(ident, **values)

    assert isinstance(refusal, Refusal)
    if told.startswith("param"):
        assert refusal.errmsg.startswith("rejected run command '")
        assert refusal.errmsg.endswith(f"' with invalid params: {told}")
    else:
        assert told == refusal.errmsg


@given(
    ident=st.sampled_from([each.command.ident or "" for each in OFFERS] + ["dump", "ps", "ping"]),
    params=st.lists(
        st.builds(
            Parameter,
            st.none() | st.sampled_from(["pid", "timeout", "ns", "pod", "what", "count", "host"]),
            st.none() | st.text(max_size=9),
        ),
        max_size=5,
    ),
)
def test_whatever_is_given_no_value_becomes_an_option_or_two_words(
    ident: str, params: list[Parameter]
) -> None:
    errand = offers().resolve(ident, params)
    if isinstance(errand, Errand) and errand.argv:
        plain = offers().resolve(
            ident,
            [Parameter(name, "1") for name in ("pid", "what", "host", "ns", "pod")]
            + [Parameter("timeout", "1s")],
        )

        assert isinstance(plain, Errand)
        assert len(plain.argv) == len(errand.argv)
        for word, usual in zip(errand.argv, plain.argv, strict=True):
            assert word == usual or not word.startswith("-")
