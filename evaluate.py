"""`python evaluate.py` is `diptych evaluate`, also where Diptych is not installed."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "src"))
from diptych.cli import main

sys.exit(main(["evaluate", *sys.argv[1:]]))
