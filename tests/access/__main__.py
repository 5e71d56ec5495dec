"""The command: `python -m tests.access --write` writes docs/access.md."""

from __future__ import annotations

import argparse
import sys

from tests.access.page import PAGE, text


def main() -> int:
    """Write the page, or print it."""
    parser = argparse.ArgumentParser(prog="python -m tests.access", description=__doc__)
    parser.add_argument("--write", action="store_true", help="write docs/access.md")
    if parser.parse_args().write:
        PAGE.write_text(text(), encoding="utf-8")
    else:
        sys.stdout.write(text())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
