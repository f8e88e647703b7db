"""`python plot_results.py` is `diptych plot`, also where Diptych is not installed."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "src"))
from diptych.cli import main

sys.exit(main(["plot", *sys.argv[1:]]))
