"""Takes a picture of a page in headless Chromium, such as those in README and docs.

build/venv/bin/python tests/picture_of_page.py build/quickstart/run/surface/viewer.html
    results/viewer.jpg --height 1045 \
    --run 'viewer.set({ joint: false }), viewer.jump(600)'
"""

import argparse
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "python_layers")]

import browser  # noqa: E402
import cv2  # noqa: E402

from randrop import cli  # noqa: E402
from randrop.errors import UserError  # noqa: E402
from randrop.files import replacing  # noqa: E402


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("page", type=Path, help="HTML file")
    add("out", type=Path, help="PNG or JPEG to write")
    add("--width", type=int, default=1280)
    add("--height", type=int, default=900)
    add("--run", default="0", help="JavaScript to run before")
    options = parser.parse_args()
    if browser.find() is None:
        raise UserError("this needs chromium: apt-get install chromium")
    with tempfile.TemporaryDirectory() as name, browser.browser(Path(name)) as page:
        page.size(options.width, options.height)
        page.open(options.page.absolute())
        page.run("typeof viewer === 'undefined' ? 0 : viewer.started")
        page.run(f"(async () => {{ await ({options.run}); }})()")
        page.run("new Promise((done) => setTimeout(done, 500))")
        shot = Path(name) / "shot.png"
        page.screenshot(shot)
        with replacing(options.out) as temporary:
            quality = [cv2.IMWRITE_JPEG_QUALITY, 88]
            cv2.imwrite(str(temporary), cv2.imread(str(shot)), quality)
    return 0


if __name__ == "__main__":
    cli.run(main)
