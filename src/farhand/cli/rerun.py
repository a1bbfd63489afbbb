"""`farhand jobs rerun`: a job again, as it was or only where it failed, followed like a new one.

Chooses no agents: that is the controller's.
"""

import argparse
import os

from farhand.cli import following
from farhand.cli.parser import connection
from farhand.cli.region import Region
from farhand.cli.run import add_shown, shown


def configure(parser: argparse.ArgumentParser) -> None:
    """Add what `farhand jobs rerun` takes beside the job."""
    parser.add_argument(
        "--failed",
        action="store_true",
        help="only where its last try failed, timed out, was lost, expired or was refused",
    )
    parser.add_argument(
        "--skip-removed", action="store_true", help="without agents that were removed since"
    )
    parser.add_argument("--idempotency-key", metavar="KEY", help="the same key is the same job")
    add_shown(parser)


def execute(args: argparse.Namespace) -> int:
    """Submit the job again, follow it, and return the exit code."""
    region = Region(os.environ, wanted=not (args.quiet or args.json))
    with connection(args, patience_s=following.PATIENCE_S, notice=region.note) as client:
        job = client.rerun_job(
            args.job,
            failed_only=args.failed,
            skip_removed=args.skip_removed,
            idempotency_key=args.idempotency_key,
        )
        return shown(args, client, job, region)
