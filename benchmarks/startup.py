"""How long `diptych --help` takes, beside a Python process that does nothing. The promise: under 0.3 s."""

import argparse
import json
import statistics
import subprocess
import sys
import time

RUNS = 15


def seconds(*arguments: str) -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    pairs = [(seconds("-m", "diptych", "--help"), seconds("-c", "pass")) for _ in range(RUNS + 1)][1:]
    value, reference = (statistics.median(times) for times in zip(*pairs, strict=True))
    result = {"benchmark": "startup", "value": value, "reference": reference, "ratio": value / reference, "unit": "s"}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
