"""Messages out of a byte stream, whatever the cuts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farhand.wire.grpc.framing import BadMessage, MessageReader


def framed(message: bytes) -> bytes:
    return b"\x00" + len(message).to_bytes(4, "big") + message


def everything(reader: MessageReader, limit: int = 1 << 20) -> list[bytes]:
    got = []
    while (message := reader.next(limit)) is not None:
        got.append(message)
    return got


@given(st.lists(st.binary(max_size=200), max_size=12), st.data())
def test_messages_come_out_whole_however_they_are_cut(
    messages: list[bytes], data: st.DataObject
) -> None:
    stream = b"".join(map(framed, messages))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=20)))
    reader, got = MessageReader(), []
    for start, stop in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        reader.add(stream[start:stop])
        if data.draw(st.booleans()):
            got += everything(reader)
    got += everything(reader)

    assert messages == got
    assert 0 == reader.held


def test_a_message_in_single_bytes_is_joined_on_the_way() -> None:
    reader = MessageReader()
    message = bytes(range(256)) * 20
    for byte in framed(message) + framed(b"next"):
        reader.add(bytes((byte,)))

    assert len(reader._pieces) < 300
    assert [message, b"next"] == everything(reader)


def test_the_length_is_known_before_the_message_is() -> None:
    reader = MessageReader()
    reader.add(b"\x00\x00\x00")
    before = reader.announced()
    reader.add(b"\x01\x00abc")

    assert before is None
    assert 256 == reader.announced()
    assert reader.next(256) is None
    assert 8 == reader.held


def test_a_message_above_the_limit_is_refused_at_its_prefix() -> None:
    reader = MessageReader()
    reader.add(b"\x00\xff\xff\xff\xff")

    with pytest.raises(BadMessage) as caught:
        reader.next(1 << 20)

    assert (False, 0xFFFFFFFF) == (caught.value.compressed, caught.value.size)


def test_a_compressed_message_is_refused_at_its_prefix() -> None:
    reader = MessageReader()
    reader.add(b"\x01\x00\x00\x00\x05")

    with pytest.raises(BadMessage) as caught:
        reader.announced()

    assert caught.value.compressed
