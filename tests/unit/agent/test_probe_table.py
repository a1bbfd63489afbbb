import pytest

from farhand.agent.probe.table import duration, show, size


def test_columns_are_as_wide_as_what_stands_in_them(capsys: pytest.CaptureFixture[str]) -> None:
    show(("N", "NAME", "REST"), [(1, "a", "x y"), (1000, "long", "")], right=frozenset({0}))

    assert "   N  NAME  REST\n   1  a     x y\n1000  long\n" == capsys.readouterr().out


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1536, "1.5 KiB"),
        (3 << 30, "3.0 GiB"),
        (5 << 50, "5120.0 TiB"),
    ],
)
def test_sizes_are_read_by_people(number: int, text: str) -> None:
    assert text == size(number)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0s"), (9.9, "9.9s"), (61, "1m 1s"), (3600, "1h"), (90_061, "1d 1h 1m")],
)
def test_durations_are_read_by_people(seconds: float, text: str) -> None:
    assert text == duration(seconds)
