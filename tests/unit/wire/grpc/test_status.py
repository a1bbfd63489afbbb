"""Statuses, metadata and timeouts as text on the wire."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farhand.wire.grpc import CallEnd, EndedBy, Metadata, Peer, Status
from farhand.wire.grpc.status import (
    MESSAGE_CHARACTERS,
    end_from_http,
    end_from_reset,
    end_from_trailers,
    headers_from,
    metadata_from,
    percent_decode,
    percent_encode,
    reset_code,
    status_trailers,
    timeout_from,
    timeout_header,
)


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=300))
def test_any_message_survives_but_for_blanks_at_its_ends(message: str) -> None:
    raw = percent_encode(message)

    assert message.strip() == percent_decode(raw)
    assert raw.strip() == raw
    assert all(0x20 <= byte <= 0x7E for byte in raw)


def test_a_message_is_encoded_as_the_specification_has_it() -> None:
    assert b"no %E2%80%94 100 %25%0A!" == percent_encode("no — 100 %\n!")


def test_a_long_message_is_cut() -> None:
    assert MESSAGE_CHARACTERS == len(percent_decode(percent_encode("ü" * 5000)))


@pytest.mark.parametrize(
    ("raw", "text"), [(b"%", "%"), (b"%zz", "%zz"), (b"%ff", "\ufffd"), (b"a%20b", "a b")]
)
def test_a_message_that_is_not_valid_is_kept_or_replaced(raw: bytes, text: str) -> None:
    assert text == percent_decode(raw)


names = st.text("abcdefghijklmnopqrstuvwxyz0123456789_.-", min_size=1, max_size=20).filter(
    lambda name: (
        not name.endswith("-bin")
        and not name.startswith("grpc-")
        and name not in {"te", "content-type"}
    )
)
texts = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=40).map(str.strip)
pairs = st.one_of(
    st.tuples(names, texts),
    st.tuples(names.map(lambda name: f"{name}-bin"), st.binary(max_size=40)),
)


@given(st.lists(pairs, max_size=8).map(tuple))
def test_metadata_survives_the_wire(metadata: Metadata) -> None:
    assert metadata == metadata_from(headers_from(metadata))


def test_binary_values_may_be_padded_joined_or_broken() -> None:
    headers = [(b"a-bin", b"AAE="), (b"b-bin", b"AAE,AgM"), (b"c-bin", b"!!!")]

    assert (("a-bin", b"\0\1"), ("b-bin", b"\0\1"), ("b-bin", b"\2\3")) == metadata_from(headers)


def test_what_belongs_to_grpc_is_no_metadata() -> None:
    headers = [(b":path", b"/"), (b"te", b"trailers"), (b"grpc-timeout", b"1S"), (b"k", b"v")]

    assert (("k", "v"),) == metadata_from(headers)


@pytest.mark.parametrize("name", ["", ":path", "grpc-status", "te", "a b", "ü", "content-type"])
def test_a_reserved_or_malformed_name_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"metadata|ascii"):
        headers_from(((name, "v"),))


@pytest.mark.parametrize("value", ["a\r\nb", "ü", " a", "\x00"])
def test_text_that_cannot_be_a_header_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match="must be printable ASCII; use a -bin name"):
        headers_from((("k", value),))


def test_a_status_is_read_back_with_its_message_and_trailers() -> None:
    trailers = status_trailers(Status.ABORTED, "é", (("k-bin", b"\xff"),))

    assert CallEnd(Status.ABORTED, "é", (("k-bin", b"\xff"),)) == end_from_trailers(trailers)


@pytest.mark.parametrize("raw", [b"17", b"-1", b"abc", b"", b"999", b"1 "])
def test_a_status_that_is_none_is_unknown(raw: bytes) -> None:
    end = end_from_trailers([(b"grpc-status", raw)])

    assert end is not None
    assert Status.UNKNOWN == end.status


def test_trailers_without_a_status_are_no_end() -> None:
    assert end_from_trailers([(b"k", b"v")]) is None


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (0x7, Status.UNAVAILABLE),
        (0x8, Status.CANCELLED),
        (0xB, Status.RESOURCE_EXHAUSTED),
        (0xC, Status.PERMISSION_DENIED),
        (0x1, Status.INTERNAL),
        (0x2, Status.INTERNAL),
    ],
)
def test_a_reset_means_a_status(code: int, status: Status) -> None:
    assert (status, EndedBy.PEER) == (end_from_reset(code).status, end_from_reset(code).by)


def test_a_status_means_a_reset() -> None:
    assert [0x0, 0x8, 0xB, 0x2] == [
        reset_code(status)
        for status in (Status.OK, Status.CANCELLED, Status.RESOURCE_EXHAUSTED, Status.INTERNAL)
    ]


def test_an_http_status_means_a_status() -> None:
    assert [Status.UNAVAILABLE, Status.UNIMPLEMENTED, Status.UNKNOWN] == [
        end_from_http(code).status for code in (b"503", b"404", b"302")
    ]


@pytest.mark.parametrize(
    ("raw", "seconds"),
    [(b"2H", 7200), (b"3M", 180), (b"4S", 4), (b"5m", 0.005), (b"6u", 6e-6), (b"7n", 7e-9)],
)
def test_a_timeout_is_read_in_every_unit(raw: bytes, seconds: float) -> None:
    assert seconds == pytest.approx(timeout_from(raw))


@pytest.mark.parametrize("raw", [b"", b"S", b"1", b"1X", b"-1S", b"123456789S", b"1.5S"])
def test_a_malformed_timeout_is_none(raw: bytes) -> None:
    assert timeout_from(raw) is None


@given(st.floats(0, 1e9))
def test_a_timeout_is_written_in_eight_digits(seconds: float) -> None:
    raw = timeout_header(seconds)

    assert len(raw) <= 9
    assert timeout_from(raw) == pytest.approx(seconds, rel=1e-2, abs=1e-6)


def test_a_peer_is_printed_as_an_address() -> None:
    assert "192.0.2.1:7" == str(Peer("192.0.2.1", 7))
    assert "[2001:db8::1]:7" == str(Peer("2001:db8::1", 7))
