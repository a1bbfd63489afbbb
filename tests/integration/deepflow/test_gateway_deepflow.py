"""DeepFlow agents at a real controller: what a run means there, and what it says of them."""

from pathlib import Path

from farhand.domain.run import RunState, Why
from farhand.testing.deepflow import Responder, print_out
from tests.integration.deepflow.estate import NAME, estate


async def test_a_command_runs_and_its_output_is_kept(tmp_path: Path) -> None:
    async with estate(tmp_path) as it, it.agent(Responder(behaviour=print_out(b"hello\n"))):
        agent = await it.online()
        run = await it.final(await it.submit())

        assert NAME == agent.name
        assert (RunState.SUCCEEDED, Why.EXIT, 0) == (run.state, run.why, run.exit_code)
        assert b"hello\n" == await it.output(run)


async def test_success_without_output_is_success(tmp_path: Path) -> None:
    async with estate(tmp_path) as it, it.agent():
        await it.online()
        run = await it.final(await it.submit())

        assert (RunState.SUCCEEDED, b"") == (run.state, await it.output(run))
