import asyncio
import fcntl
import os

import pytest

from farhand.agent.pipes import Feed, Pipe, Pipes


def pipe() -> tuple[Pipe, int]:
    read, write = os.pipe2(os.O_CLOEXEC)
    os.set_blocking(read, False)
    return Pipe(read), write


async def test_what_is_there_is_read_at_once_and_then_the_end() -> None:
    reading, write = pipe()
    os.write(write, b"abc")

    assert b"abc" == await reading.read()
    os.close(write)
    assert b"" == await reading.read()
    reading.close()


async def test_a_reader_waits_until_there_is_something() -> None:
    reading, write = pipe()
    waiting = asyncio.ensure_future(reading.read())
    await asyncio.sleep(0)
    os.write(write, b"x")

    assert b"x" == await waiting
    reading.close()
    os.close(write)


async def test_giving_up_loses_nothing() -> None:
    reading, write = pipe()
    for _ in range(3):
        waiting = asyncio.ensure_future(reading.read())
        await asyncio.sleep(0)
        os.write(write, b"x")
        waiting.cancel()
        await asyncio.wait([waiting])

    assert b"xxx" == await reading.read()
    reading.close()
    os.close(write)


async def test_two_readers_at_once_are_a_mistake_that_shows() -> None:
    reading, write = pipe()
    first = asyncio.ensure_future(reading.read())
    await asyncio.sleep(0.001)
    with pytest.raises(AssertionError):
        await reading.read()
    os.close(write)

    assert b"" == await first
    reading.close()


async def test_a_descriptor_is_given_up_once() -> None:
    reading, write = pipe()
    fd = reading.release()
    os.close(fd)
    os.close(write)

    assert -1 == reading.release()
    assert b"" == await reading.read()


async def test_a_feed_writes_all_and_ends() -> None:
    read, write = os.pipe2(os.O_CLOEXEC)
    os.set_blocking(write, False)
    os.set_blocking(read, False)
    feed, reading, got = Feed(write, bytes(300_000)), Pipe(read), 0
    feed.start()
    while part := await reading.read():
        got += len(part)
    reading.close()

    assert 300_000 == got


async def test_a_feed_ends_when_nobody_reads() -> None:
    read, write = os.pipe2(os.O_CLOEXEC)
    os.set_blocking(write, False)
    feed = Feed(write, bytes(300_000))
    feed.start()
    os.close(read)
    for _ in range(3):
        await asyncio.sleep(0)
    feed.close()

    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(write)


async def test_without_stdin_a_program_gets_an_empty_one() -> None:
    pipes = Pipes(b"")

    assert b"" == os.read(pipes.theirs[0], 1)
    assert 3 == len(pipes.theirs)
    pipes.close()


async def test_an_output_pipe_is_wide_and_only_our_end_does_not_block() -> None:
    pipes = Pipes(b"")
    size = fcntl.fcntl(pipes.theirs[1], fcntl.F_GETPIPE_SZ)

    assert size in {1 << 20, 1 << 16, 1 << 13, 1 << 12}  # as much as this user may have
    assert os.get_blocking(pipes.theirs[1])
    pipes.close()


async def test_a_start_gives_up_the_programs_ends_and_close_ours() -> None:
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    pipes = Pipes(bytes(2_000_000))
    theirs = list(pipes.theirs)
    pipes.started()
    for fd in theirs:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(fd)
    pipes.close()
    pipes.close()

    assert before == len(os.listdir("/proc/self/fd"))  # noqa: PTH208
