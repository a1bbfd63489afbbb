import os
import shutil
import subprocess

import pytest

from farhand.agent.diagnosis import ENTRIES
from farhand.agent.entry import Entry
from farhand.agent.probe.main import PROBES
from farhand.domain.command import ParamType
from farhand.errors import InvalidParameter

BY_IDENT = {entry.command.ident: entry for entry in ENTRIES}
SAMPLE = {
    "pid": str(os.getpid()),
    "host": "localhost",
    "name": "localhost",
    "port": "1",
    "unit": "ssh.service",
}
# What needs systemd, root, a route, or seconds.
ELSEWHERE = {
    *{"failed-units", "firewall", "journal", "kernel-log", "ping", "pressure", "strace"},
    *{"tcp-connect", "traceroute", "unit-status", "connection-tracking", "io", "top"},
}


def sample(entry: Entry) -> dict[str, str]:
    """Values for what a command requires."""
    return {param.name: SAMPLE[param.name] for param in entry.command.params if param.required}


def test_what_a_person_needs_at_night_is_there() -> None:
    needed = {
        *{"ps", "sockets", "addresses", "routes", "disks", "memory", "uptime", "date"},
        *{"kernel-log", "namespaces", "ping", "dns-lookup", "tcp-connect", "strace"},
    }

    assert needed <= set(BY_IDENT)


def test_everything_is_described_and_ends_by_itself() -> None:
    assert all(entry.command.description and entry.timeout_s for entry in ENTRIES)
    assert all(param.description for entry in ENTRIES for param in entry.command.params)


def test_probes_that_are_used_are_there() -> None:
    used = {item for entry in ENTRIES for item in entry.argv if item in PROBES}

    assert set(PROBES) == used


@pytest.mark.parametrize("ident", sorted(BY_IDENT.keys() - ELSEWHERE))
def test_a_command_runs_with_its_defaults(ident: str) -> None:
    entry = BY_IDENT[ident]
    argv = entry.filled(entry.command.checked(sample(entry)))
    if shutil.which(argv[0]) is None:
        pytest.skip(f"{argv[0]} is not installed here")
    done = subprocess.run(argv, capture_output=True, check=False, timeout=30)

    assert (0, b"") == (done.returncode, done.stderr)


@pytest.mark.parametrize(
    "entry", [entry for entry in ENTRIES if entry.command.params], ids=lambda e: e.command.ident
)
@pytest.mark.parametrize(
    "value", ["--help", "-x", "", "a\0b", "a\nb", "$(id)", "a;b", "{pid}", "é"]
)
def test_no_parameter_takes_an_option_or_the_words_of_a_shell(entry: Entry, value: str) -> None:
    for param in entry.command.params:
        with pytest.raises(InvalidParameter):
            entry.filled(entry.command.checked({**sample(entry), param.name: value}))


def test_every_number_has_bounds() -> None:
    numbers = [
        param for entry in ENTRIES for param in entry.command.params if param.type is ParamType.INT
    ]

    assert all(param.minimum is not None and param.maximum is not None for param in numbers)
