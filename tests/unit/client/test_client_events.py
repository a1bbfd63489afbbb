from dataclasses import replace

from farhand.client._events import End, Gathering, Output, RunChanged
from farhand.client._shapes import Run, StreamEnd


def run(number: int, state: str = "queued", **streams: StreamEnd) -> Run:
    return Run(id=f"run_{number}", agent=f"web-{number}", state=state, streams=streams)


def printed(number: int, data: bytes, *, err: bool = False) -> Output:
    name = f"run_{number}"
    return Output(run=name, agent="x", stream="stderr" if err else "stdout", offset=0, data=data)


def test_what_runs_print_is_gathered_apart() -> None:
    gathering = Gathering("job_1", (run(1), run(2)))
    for event in (printed(1, b"a"), printed(2, b"x"), printed(1, b"b"), printed(1, b"!", err=True)):
        gathering.take(event)
    gathering.take(RunChanged(run(1, "succeeded")))
    gathering.take(RunChanged(run(2, "failed")))
    gathering.take(End())
    result = gathering.result()

    assert [(b"ab", b"!", True), (b"x", b"", False)] == [
        (one.stdout, one.stderr, one.ok) for one in result.runs
    ]
    assert not result.ok


def test_of_a_host_that_was_tried_again_the_last_try_is_the_result() -> None:
    gathering = Gathering("job_1", (run(1),))
    again = replace(run(2, "succeeded"), retry_of="run_1")
    for event in (RunChanged(run(1, "failed")), RunChanged(again), End()):
        gathering.take(event)

    assert ([again], True) == (
        [one.run for one in gathering.result().runs],
        gathering.result().ok,
    )


def test_no_more_is_gathered_than_was_asked_for_and_that_is_told() -> None:
    gathering = Gathering("job_1", (run(1), run(2)), keep_bytes=3)
    for data in (b"ab", b"cd", b"ef"):
        gathering.take(printed(1, data))
    gathering.take(printed(2, b"abc"))
    first, second = gathering.result().runs

    assert (b"abc", True) == (first.stdout, first.truncated)
    assert (b"abc", False) == (second.stdout, second.truncated)


def test_output_that_was_cut_on_the_way_is_truncated() -> None:
    gathering = Gathering("job_1", ())
    gathering.take(RunChanged(run(1, "succeeded", stdout=StreamEnd(cut_bytes=1))))

    assert gathering.result().runs[0].truncated
