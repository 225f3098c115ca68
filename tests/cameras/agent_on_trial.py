"""The agent with two plugins more, those in `sources` and `engines` beside this file. Arguments as of `vedette`."""

import sys
from pathlib import Path

from agent import engines, sources

HERE = Path(__file__).resolve().parent
sources.__path__.append(str(HERE / "sources"))
engines.__path__.append(str(HERE / "engines"))

from agent.cli import main  # noqa: E402 - it looks for plugins

if __name__ == "__main__":
    sys.exit(main())
