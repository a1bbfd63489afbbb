from hypothesis import given
from hypothesis import strategies as st

from farhand.cli.lines import Prefixer

NAMES = {"r1": "web-1", "r2": "db"}
KEYS = [(run, stream) for run in NAMES for stream in ("stdout", "stderr")]
FED = st.lists(
    st.tuples(
        st.sampled_from(KEYS),
        st.lists(st.sampled_from([b"a", b"\n", b"\xff|", b" + "])).map(b"".join),
    ),
    max_size=30,
)


def unprefixed(shown: bytes, name: str) -> bytes:
    """What the lines of one host say, put together again."""
    said = b""
    for line in shown.splitlines(keepends=True):
        front, sign, rest = line[:5], line[5:8], line[8:]
        if front.rstrip() == name.encode():
            said = said.removesuffix(b"\n") + rest if sign == b" + " else said + rest
    return said


@given(FED)
def test_the_bytes_of_each_host_arrive_in_order_and_unbroken(
    fed: list[tuple[tuple[str, str], bytes]],
) -> None:
    prefixer = Prefixer(NAMES, limit=5)
    shown = dict.fromkeys(("stdout", "stderr"), b"")
    for (run, stream), data in fed:
        shown[stream] += prefixer.feed(run, stream, data)
    for run, stream in KEYS:
        shown[stream] += prefixer.finish(run, stream)

    for run, stream in KEYS:
        printed = b"".join(data for key, data in fed if key == (run, stream))
        if printed and not printed.endswith(b"\n"):
            printed += b"\n"
        assert printed == unprefixed(shown[stream], NAMES[run])
    for line in (shown["stdout"] + shown["stderr"]).split(b"\n")[:-1]:
        assert line[:8] in {b"web-1 | ", b"web-1 + ", b"db    | ", b"db    + "}


def test_a_line_is_shown_when_it_is_whole() -> None:
    prefixer = Prefixer(NAMES)

    assert b"" == prefixer.feed("r1", "stdout", b"half")
    assert b"web-1 | half and half\n" == prefixer.feed("r1", "stdout", b" and half\nmo")
    assert b"db    | other\n" == prefixer.feed("r2", "stdout", b"other\n")
    assert b"web-1 | more\n" == prefixer.feed("r1", "stdout", b"re\n")


def test_a_line_that_never_ends_is_shown_in_pieces_that_say_so() -> None:
    prefixer = Prefixer(NAMES, limit=3)

    assert b"web-1 | abc\nweb-1 + def\n" == prefixer.feed("r1", "stdout", b"abcdefg")
    assert b"web-1 + g\n" == prefixer.finish("r1", "stdout")
    assert b"" == prefixer.finish("r1", "stdout")


def test_what_is_held_back_is_bounded() -> None:
    prefixer = Prefixer(NAMES, limit=100)
    shown = sum(len(prefixer.feed("r1", "stdout", b"x" * 70)) for _ in range(50))

    assert shown >= 50 * 70 - 100


def test_hosts_of_one_name_are_not_mixed() -> None:
    prefixer = Prefixer({"r1": "web", "r2": "web"})
    prefixer.feed("r1", "stdout", b"a")
    prefixer.feed("r2", "stdout", b"b")

    assert b"web | a1\n" == prefixer.feed("r1", "stdout", b"1\n")


def test_colours_dress_the_name_alone() -> None:
    shown = Prefixer(NAMES, colour=True).feed("r2", "stdout", b"x\n")

    assert b"\x1b[33mdb   \x1b[0m | x\n" == shown


def test_a_run_that_was_not_named_is_called_by_its_id() -> None:
    assert b"r9 | x\n" == Prefixer(NAMES).feed("r9", "stdout", b"x\n")
