"""What a person types to spread a job, and what is shown of it."""

import argparse

import pytest

from farhand.cli import spreading
from farhand.cli.parser import Parser, UsageError
from farhand.client._shapes import read_job


def typed(*words: str) -> argparse.Namespace:
    parser = Parser(prog="farhand run")
    spreading.configure(parser)
    return parser.parse_args(words)


def test_every_option_reaches_the_job() -> None:
    asked = spreading.options(
        typed(
            *("--concurrency", "10%", "--waves", "1,10%,rest", "--pause", "5m"),
            *("--abort-after", "3", "--gate", "curl -f 'http://a b'", "--gate-on", "role=probe"),
            *("--retries", "2", "--retry-delay", "10s"),
        )
    )

    assert asked == {
        "concurrency": "10%",
        "waves": ["1", "10%", "rest"],
        "pause_s": 300.0,
        "abort_after": "3",
        "gate": {"argv": ["curl", "-f", "http://a b"], "selector": "role=probe"},
        "retries": 2,
        "retry_delay_s": 10.0,
    }


def test_without_any_option_a_job_is_not_spread() -> None:
    assert spreading.options(typed()) is None
    assert spreading.options(typed("--rerunnable")) is None


def test_a_pause_may_last_until_somebody_resumes() -> None:
    assert {"by_hand": True} == spreading.options(typed("--pause", "hold"))


@pytest.mark.parametrize(
    "words",
    [
        ("--gate", "true"),
        ("--gate-on", "role=probe"),
        ("--gate", "'", "--gate-on", "a=b"),
        ("--pause", "sometimes"),
    ],
)
def test_what_cannot_be_meant_is_a_usage_error(words: tuple[str, ...]) -> None:
    with pytest.raises(UsageError):
        spreading.options(typed(*words))


def rollout(**told: object) -> dict[str, object]:
    return {"phase": "rolling", "wave": 2, "sizes": [1, 4, 35], "spread": {}, **told}


@pytest.mark.parametrize(
    ("told", "shown"),
    [
        (rollout(), {"rollout": "rolling, wave 2 of 3 (1+4+35 hosts)"}),
        (
            rollout(
                phase="held",
                hold={"why": "pause", "by": "rollout", "at": None, "message": "wave 2 is over"},
            ),
            {
                "rollout": "held by rollout; `farhand jobs resume` goes on, "
                "wave 2 of 3 (1+4+35 hosts)",
                "because": "wave 2 is over",
            },
        ),
        (
            rollout(phase="done", ended="failures", message="3 of 5 failed"),
            {
                "rollout": "done (failures), wave 2 of 3 (1+4+35 hosts)",
                "because": "3 of 5 failed",
            },
        ),
        (
            rollout(phase="gating", gate="job_2"),
            {"rollout": "gating, wave 2 of 3 (1+4+35 hosts)", "gate": "job_2"},
        ),
        (None, {}),
    ],
)
def test_a_page_about_a_job_says_how_far_it_has_come(
    told: dict[str, object] | None, shown: dict[str, str]
) -> None:
    assert shown == spreading.told(read_job({"id": "job_1", "rollout": told}))
