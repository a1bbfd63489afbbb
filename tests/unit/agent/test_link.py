"""When an agent speaks, seen from a controller that everybody came back to at once."""

import random
from collections import Counter
from itertools import accumulate

from farhand.agent.link import Rhythm

AGENTS = 2_000
INTERVAL_S = 20.0


def _beats(seed: int, rounds: int) -> list[float]:
    """When one agent beats, after all of them were welcomed in the same moment."""
    rhythm = Rhythm(INTERVAL_S, random.Random(seed))
    return list(accumulate(rhythm.next() for _ in range(rounds)))


def test_agents_that_came_together_do_not_beat_together() -> None:
    seconds = Counter(int(at) for seed in range(AGENTS) for at in _beats(seed, 3))
    evenly = AGENTS / INTERVAL_S

    assert max(seconds.values()) < 2.5 * evenly
    assert min(seconds[second] for second in range(int(2 * INTERVAL_S))) > 0.5 * evenly


def test_no_agent_is_silent_for_longer_than_the_interval() -> None:
    beats = _beats(1, 200)
    gaps = [later - sooner for sooner, later in zip([0.0, *beats], beats, strict=False)]

    assert max(gaps) <= INTERVAL_S
    assert min(gaps[1:]) >= 0.8 * INTERVAL_S
