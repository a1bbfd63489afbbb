"""What is held for the store: numbered, within grants, once, and counted against the room."""

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from farhand.domain.deepflow.outlet import PIECE_BYTES, Outlet, Room
from farhand.domain.ids import RunId
from farhand.domain.output import Chunk, StreamName

RUN = RunId("run_01h455vb4pex5vsknk084sn02q")
OUT, ERR = StreamName.STDOUT, StreamName.STDERR


def outlet(room: Room | None = None, *, limit: int = 1 << 20, up_to: int = 1 << 20) -> Outlet:
    return Outlet(RUN, room or Room(), limit=limit, tail=limit // 2, up_to=up_to)


def out(offset: int, data: bytes) -> Chunk:
    return Chunk(RUN, OUT, offset, data)


def test_bytes_go_out_once_in_order_and_with_their_numbers() -> None:
    held = outlet()
    held.feed(OUT, b"hel")
    held.feed(ERR, b"oops")
    held.feed(OUT, b"lo")

    assert [out(0, b"hel"), out(3, b"lo"), Chunk(RUN, ERR, 0, b"oops")] == held.ready()
    assert [] == held.ready()


def test_no_byte_goes_out_beyond_its_grant() -> None:
    held = outlet(up_to=4)
    held.feed(OUT, b"hello world")

    assert [out(0, b"hell")] == held.ready()

    held.stored(OUT, 4, 6)

    assert [out(4, b"o ")] == held.ready()


def test_a_large_piece_goes_out_in_several() -> None:
    held = outlet(limit=4 * PIECE_BYTES, up_to=4 * PIECE_BYTES)
    held.feed(OUT, bytes(PIECE_BYTES + 1))

    assert [PIECE_BYTES, 1] == [len(chunk.data) for chunk in held.ready()]


def test_what_was_handed_out_can_be_asked_for_again_until_it_is_stored() -> None:
    held = outlet()
    held.feed(OUT, b"abc")
    held.feed(OUT, b"def")
    held.ready()
    held.stored(OUT, 3, 100)
    held.rewind({OUT: 4, ERR: 0}, {OUT: 100})

    assert [out(4, b"ef")] == held.ready()

    held.rewind({OUT: 0}, {})  # these are stored already

    assert [out(3, b"def")] == held.ready()


def test_the_middle_of_too_much_is_cut_and_the_end_says_so() -> None:
    held = outlet(limit=8)
    held.feed(OUT, b"0123456789abcdef")
    held.finish()

    assert b"0123cdef" == b"".join(chunk.data for chunk in held.ready())
    assert (16, 8, 4, 8) == (
        held.ends[OUT].total,
        held.ends[OUT].kept,
        held.ends[OUT].cut_at,
        held.ends[OUT].cut_bytes,
    )
    assert hashlib.sha256(b"0123cdef").hexdigest() == held.ends[OUT].sha256_kept


def test_it_is_told_when_both_streams_have_ended_and_went_out() -> None:
    held = outlet(up_to=1)
    held.feed(OUT, b"ab")
    held.ready()

    assert not held.told

    held.finish()
    held.ready()

    assert not held.told

    held.stored(OUT, 1, 2)
    held.ready()

    assert held.told


def test_a_room_counts_what_is_not_stored() -> None:
    room = Room(most=10, reserve=4)
    first, second = outlet(room), outlet(room)
    first.feed(OUT, b"01234")
    second.feed(ERR, b"56789")

    assert (10, True) == (room.used, room.full)

    first.ready()
    first.stored(OUT, 5, 100)

    assert (5, False) == (room.used, room.full)

    second.drop()

    assert 0 == room.used


def test_a_full_room_takes_small_pieces_and_no_large_one() -> None:
    room = Room(most=10, reserve=4)
    held = outlet(room)

    assert held.feed(OUT, b"0123456789")
    assert held.feed(OUT, b"abcd")
    assert not held.feed(OUT, b"efghi")
    assert 14 == room.used == held.held


@given(
    st.lists(st.binary(min_size=1, max_size=30), max_size=8),
    st.lists(st.integers(1, 20), min_size=1, max_size=30),
    st.integers(2, 80),
)
def test_all_that_is_kept_goes_out_whatever_the_grants(
    pieces: list[bytes], grants: list[int], limit: int
) -> None:
    room = Room()
    held = outlet(room, limit=limit, up_to=0)
    for piece in pieces:
        held.feed(OUT, piece)
    held.finish()
    got, up_to = b"", 0
    while not held.told:
        up_to += grants[len(got) % len(grants)]
        held.stored(OUT, len(got), up_to)
        got += b"".join(chunk.data for chunk in held.ready())
        assert len(got) <= up_to

    end = held.ends[OUT]
    assert (len(b"".join(pieces)), end.kept) == (end.total, len(got))
    assert hashlib.sha256(got).hexdigest() == end.sha256_kept

    held.stored(OUT, len(got), up_to)

    assert 0 == room.used == held.held
