"""Screenshots of a report page at the width of a desk and of a phone, its weight, and what it asks the network for.

python tests/benchmarks/report_page.py PAGE.html --folder results/screenshots
"""

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from browser import Browser


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("page", type=Path)
    parser.add_argument("--folder", type=Path, default=Path("results/screenshots"))
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        browser = Browser(shutil.which("chromium"), Path(profile))
        for width in (1280, 390):
            browser.open(given.page.resolve(), width=width, mobile=width < 600)
            shown, asked = browser.run("document.documentElement.scrollWidth"), len(browser.requests()) - 1
            browser.screenshot(given.folder / f"page_{width}.png")
            print(f"{width} px: {shown} px wide, {asked} requests, {len(browser.complaints())} complaints")
        browser.close()
    print(f"{given.page.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
