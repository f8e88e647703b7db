"""Make the pictures of the README from a real run on the solar cells: `python docs/make_pictures.py --data data/elpv`.

It checks the data, trains for some minutes, tests, and photographs both pages in a headless Chromium. What is in the work
folder already is used again. Needs requirements-dev.txt (Playwright) and /usr/bin/chromium.
"""

import argparse
import io
import subprocess
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent
CHROMIUM = "/usr/bin/chromium"
WIDTH = 1100
MAX_BYTES = 200_000
# A quarter of the width of `make train`, so that two shared cores need a few minutes.
TRAINING = (
    "--class-names", "functional,defective", "--split", str(REPOSITORY / "benchmarks" / "elpv_split.csv"), "--preset", "quick",
    "--weights", "none", "--quarter-turns", "--width", "0.25", "--name", "solar-cells",
)  # fmt: skip


def make_pages(data: Path, work: Path) -> tuple[Path, Path]:
    """Run check, train and evaluate in `work`, where their pages are not there yet; return the two pages."""
    check, run = work / "check" / "check.html", work / "runs" / "solar-cells"
    report = run / "evaluation" / "report.html"
    work.mkdir(parents=True, exist_ok=True)
    if not check.is_file():
        # 1 where the data has errors, which the page is there to show.
        diptych(work, "check", str(data), allowed=(0, 1))
    if not (run / "best.keras").is_file():
        diptych(work, "train", str(data), *TRAINING)
    if not report.is_file():
        diptych(work, "evaluate", "solar-cells")
    return check, report


def diptych(work: Path, *arguments: str, allowed: tuple[int, ...] = (0,)) -> None:
    code = subprocess.run([sys.executable, "-m", "diptych", *arguments], cwd=work, check=False).returncode
    if code not in allowed:
        sys.exit(f"diptych {arguments[0]} ended with exit code {code}")


def photograph(page: Path, target: Path, height: int, start: str = "h1") -> None:
    """Save WIDTH x `height` pixels of a page, in light colours, as a PNG of at most MAX_BYTES.

    Args:
        page: the HTML file.
        target: the PNG file.
        height: in pixels.
        start: CSS selector of the element at the top of the picture.
    """
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, chromium_sandbox=False)
        window = browser.new_page(viewport={"width": WIDTH, "height": height}, color_scheme="light")
        window.goto(page.as_uri())
        window.locator(start).first.evaluate("element => window.scrollTo(0, element.getBoundingClientRect().top - 16)")
        shot = window.screenshot()
        browser.close()
    image = Image.open(io.BytesIO(shot)).convert("RGB").quantize(128, dither=Image.Dither.NONE)
    image.save(target, optimize=True)
    if target.stat().st_size > MAX_BYTES:
        sys.exit(f"{target} has {target.stat().st_size} bytes; at most {MAX_BYTES} are wanted")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=REPOSITORY / "data" / "elpv", help="the folder that `diptych samples` wrote")
    parser.add_argument("--work", type=Path, default=REPOSITORY / "build" / "pictures", help="where the run and the check lie")
    given = parser.parse_args()
    check, report = make_pages(given.data.resolve(), given.work.resolve())
    photograph(check, HERE / "pictures" / "check.png", 800, "[data-kind=near-twins-labels]")
    photograph(report, HERE / "pictures" / "report.png", 900)


if __name__ == "__main__":
    main()
