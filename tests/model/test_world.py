"""Single stories in the model's world: that it shows what happens, and sees what must not."""

import pytest

from farhand.domain.job import Argv, JobSpec
from farhand.domain.output import StreamName
from farhand.domain.run import RunState
from tests.model.hosts import PROGRAM
from tests.model.world import world

PUPPET = JobSpec(what=Argv((PROGRAM,)), output_limit_bytes=100)


@pytest.mark.parametrize("sqlite", [False, True])
def test_a_run_goes_through_its_states_and_leaves_nothing(sqlite: bool) -> None:
    with world(sqlite=sqlite) as it:
        it.submit(PUPPET, [0, 1])
        it.settle()
        for host in it.hosts:
            (puppet,) = host.living
            puppet.print(StreamName.STDOUT, 70)
            puppet.exit(3)
        it.settle(1.0)
        histories = [known.history for known in it.vault.known.values()]
        it.heal()
        it.check_all()
        it.leave()

        expected = [RunState.QUEUED, RunState.SENT, RunState.RUNNING, RunState.FAILED]
        assert [expected, expected] == histories
