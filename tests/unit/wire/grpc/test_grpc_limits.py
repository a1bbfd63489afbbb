"""The limits as a value."""

from dataclasses import fields

from farhand.wire.grpc import LinkLimits

UNITS = (
    "_s",
    "_per_s",
    "bytes",
    "_bytes_per_call",
    "streams",
    "connections",
    "count",
    "burst",
    "identity",
)


def test_every_limit_has_its_unit_in_its_name() -> None:
    counts = {"unidentified_per_address", "unidentified", "unanswered_acks"}
    odd = {
        field.name
        for field in fields(LinkLimits)
        if not field.name.endswith(UNITS) and field.name not in counts | {"continuations"}
    }

    assert set() == odd


def test_the_peer_is_told_what_it_may() -> None:
    limits = LinkLimits(streams=7, stream_window_bytes=8, frame_bytes=16384, header_list_bytes=9)

    assert {3: 7, 4: 8, 5: 16384, 6: 9} == limits.settings(serving=True)
    assert {2: 0, 4: 8, 5: 16384, 6: 9} == limits.settings(serving=False)
