"""Draw demo.svg from a real run: `python docs/images/draw.py`.

Runs `farhand demo --once` on a terminal of its own and draws what that terminal showed.
"""

# ruff: noqa: INP001  # a program, not a package

import os
import pty
import re
import sys
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

COLUMNS = 104
TARGET = Path(__file__).with_name("demo.svg")


def shown(argv: list[str]) -> str:
    """What *argv* writes to a terminal."""
    parts: list[bytes] = []

    def read(fd: int) -> bytes:
        data = os.read(fd, 65536)
        parts.append(data)
        return data

    terminal = ["env", f"COLUMNS={COLUMNS}", "TERM=xterm-256color"]
    if pty.spawn([*terminal, *argv], read) != 0:
        raise SystemExit(f"{argv} failed")
    return b"".join(parts).decode().replace("\r\n", "\n")


def main() -> None:
    """Run, draw, and keep the picture free of anything that would have to be fetched."""
    text = shown([sys.executable, "-m", "farhand.boot.demo", "--once"])
    with Path(os.devnull).open("w") as nowhere:
        console = Console(record=True, width=COLUMNS, file=nowhere, force_terminal=True)
        console.print(Text.from_ansi("$ make demo\n" + text.rstrip()))
        svg = console.export_svg(title="farhand", theme=MONOKAI)
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<!--.*?-->", "", svg, flags=re.DOTALL)
    TARGET.write_text(svg.replace("Fira Code", "ui-monospace, Menlo, Consolas"))


if __name__ == "__main__":
    main()
