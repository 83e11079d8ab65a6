"""Times a step of the slider in the page of `surface.py view`, in headless Chromium.

The page shows maps of a drawn recording. A step is timed from the slider's event until
the browser has painted all panels and graphs. Every snapshot is unpacked beforehand, as
it is in use after some seconds; the first look at a snapshot is timed apart.
"""

import json
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "python_layers")]

import browser  # noqa: E402
import numpy as np  # noqa: E402
import surface_files  # noqa: E402

from randrop import cli  # noqa: E402
from randrop.errors import UserError  # noqa: E402
from randrop.files import write_json  # noqa: E402

DESCRIPTION = __doc__

# Twelve panels: picture, truth, prediction, confidence, outcome, six losses, one mask.
LOSSES = (
    *("random-drop:LOG", "cross-entropy", "focal:gamma=2", "dice", "tversky"),
    "focal:gamma=5",
)

STEPS = """
(async () => {
  const frame = () => new Promise((done) => requestAnimationFrame(() => {
    const channel = new MessageChannel();
    channel.port1.onmessage = done;
    channel.port2.postMessage(0);
  }));
  const slider = document.getElementById("slider");
  const step = async (n) => {
    await frame();
    const begin = performance.now();
    slider.value = n;
    slider.dispatchEvent(new Event("input"));
    const script = performance.now() - begin;
    await viewer.drawn;
    await frame();
    return [script, performance.now() - begin];
  };
  const count = viewer.iterations.length;
  const first = [];
  for (let n = 0; n < count; n += 1) first.push(await step(n));
  const later = [];
  for (let round = 0; round < ROUNDS; round += 1) {
    for (let n = 0; n < count; n += 1) later.push(await step((n * 7) % count));
  }
  return { first, later, panels: viewer.panels.shown().length };
})()
"""


def measure(size: int, snapshots: int, rounds: int) -> dict:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        file = surface_files.write_recording(
            folder / "recording.h5",
            names=("a",),
            size=(size, size),
            iterations=range(100, 100 * snapshots + 1, 100),
            losses=LOSSES,
        )
        page = folder / "viewer.html"
        surface_files.view(file, "--out", page)
        with browser.browser(folder) as driven:
            driven.size(1280, 3000)
            driven.open(page)
            driven.run("viewer.started")
            found = driven.run(STEPS.replace("ROUNDS", str(rounds)))
            assert driven.problems == []
        found["megabytes"] = page.stat().st_size / 1e6
    return found


def main() -> int:
    parser = cli.parser(DESCRIPTION)
    add = parser.add_argument
    add("--size", type=int, default=512, help="side of the maps in pixels")
    add("--snapshots", type=int, default=8, help="snapshots of the recording")
    add("--rounds", type=int, default=5, help="times that each snapshot is shown")
    add("--out", type=Path, help="JSON file to write")
    options = parser.parse_args()
    if browser.find() is None:
        raise UserError("this needs chromium: apt-get install chromium")
    found = measure(options.size, options.snapshots, options.rounds)
    first, later = (np.array(found[what])[:, 1] for what in ("first", "later"))
    script = np.array(found["later"])[:, 0]
    result = {
        "panels": found["panels"],
        "size": options.size,
        "megabytes": round(found["megabytes"], 2),
        "ms_step_median": round(float(np.median(later)), 1),
        "ms_step_90_percent": round(float(np.quantile(later, 0.9)), 1),
        "ms_of_it_script_median": round(float(np.median(script)), 1),
        "ms_first_look_median": round(float(np.median(first)), 1),
    }
    print(json.dumps(result, indent=2))
    if options.out:
        write_json(options.out, result)
    return 0


if __name__ == "__main__":
    cli.run(main)
