"""Generate src/farhand/wire/gen from the files beside this one, or check that it is fresh.

Flattens: proto/farhand/v1/link.proto becomes farhand.wire.gen.link_pb2, and
proto/deepflow/agent.proto becomes farhand.wire.gen.agent_pb2.
"""

import argparse
import re
import sys
import tempfile
from importlib.resources import files
from pathlib import Path

from grpc_tools import protoc

PROTO = Path(__file__).parent
GEN = PROTO.parent / "src/farhand/wire/gen"
SIBLING = re.compile(r"^(?:from (?!google\b)[\w.]+ )?import (\w+_pb2)\b", re.MULTILINE)


def generated() -> dict[str, str]:
    """The text of each file that protoc makes, by its flat name."""
    sources = sorted(str(path.relative_to(PROTO)) for path in PROTO.rglob("*.proto"))
    with tempfile.TemporaryDirectory() as out:
        includes = [f"-I{PROTO}", f"-I{files('grpc_tools') / '_proto'}"]
        status = protoc.main(
            ["protoc", *includes, f"--python_out={out}", f"--pyi_out={out}", *sources]
        )
        if status:
            sys.exit("proto: protoc refused a file, see above")
        return {
            path.name: SIBLING.sub(r"from farhand.wire.gen import \1", path.read_text())
            for path in sorted(Path(out).rglob("*_pb2.py*"))
        }


def present() -> dict[str, str]:
    """The text of each file that is there now."""
    return {path.name: path.read_text() for path in sorted(GEN.glob("*_pb2.py*"))}


def main() -> None:
    """Write what differs, or with --check only name it and fail."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if stale")
    check = parser.parse_args().check

    fresh, found = generated(), present()
    stale = sorted(
        name for name in fresh.keys() | found.keys() if fresh.get(name) != found.get(name)
    )
    if check and stale:
        sys.exit(f"proto: {', '.join(stale)} differ from proto/; run `make proto`")
    for name in stale:
        if name in fresh:
            (GEN / name).write_text(fresh[name])
        else:
            (GEN / name).unlink()


if __name__ == "__main__":
    main()
