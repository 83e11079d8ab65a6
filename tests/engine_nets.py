"""Random nets through oneDNN against Caffe's own layers; each failure can be repeated.

    build/venv/bin/python tests/engine_nets.py --seed 1234
    build/venv/bin/python tests/engine_nets.py --seed 1 --count 5000 --jobs 4

The exit status is 1 when a net fails.
"""

import argparse
import collections
import json
import os
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "python_layers")]

_MARK = "RANDROP_ENGINE_NETS"


def arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=1, help="of the first net")
    parser.add_argument("--count", type=int, default=1, help="how many nets")
    parser.add_argument("--seconds", type=float, help="stop after so many")
    parser.add_argument("--jobs", type=int, default=1, help="how many at a time")
    parser.add_argument("--named", nargs="*", help="named nets instead; none: all")
    parser.add_argument("--shrink", action="store_true", help="make failures smaller")
    parser.add_argument("--show", action="store_true", help="print the nets and steps")
    parser.add_argument("--quiet", action="store_true", help="failures and sums alone")
    parser.add_argument("--tried", help="append the counts to this file")
    return parser.parse_args()


def with_checked_memory():
    """Restart this program with an allocator that detects memory overruns."""
    if os.environ.get(_MARK):
        return
    os.environ[_MARK] = "1"
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    os.environ.setdefault("GLOG_minloglevel", "2")
    if "LD_PRELOAD" not in os.environ:
        os.environ["LD_PRELOAD"] = "libc_malloc_debug.so.0"
        os.environ["MALLOC_CHECK_"] = "3"
        # Uninitialised memory then reads as 1.5e16 instead of an accidental 0.
        os.environ["MALLOC_PERTURB_"] = "165"
    os.execv(sys.executable, [sys.executable, *sys.argv])


def line_of(label):
    return f"build/venv/bin/python tests/engine_nets.py {label}"


def show(case):
    from engine_property.shapes import net_shapes
    from engine_property.text import prototxt

    for net in case["nets"]:
        print(prototxt(net, net_shapes(net["layers"])[0]))
    for step in case["steps"]:
        print(json.dumps(step))
    print({k: v for k, v in case.items() if k not in ("nets", "steps")})


def work(caffe, options, cases, out):
    """Judge cases and write one line of JSON for each."""
    from engine_property import shrinking
    from engine_property.comparing import judge

    end = time.monotonic() + (options.seconds or 1e9)
    for label, case in cases:
        if time.monotonic() > end:
            break
        case = case()
        verdict = judge(caffe, case)
        told = {
            "label": label,
            "what": verdict.what,
            "why": verdict.why,
            "tensors": verdict.tensors,
            "flips": verdict.flips,
        }
        if options.show:
            show(case)
        if verdict.what == "failed" and options.shrink:
            small, why = shrinking.shrink(caffe, verdict.case, verdict.why)
            told["why"] += f"; smaller: {why}"
            show(small)
        out.write(json.dumps(told) + "\n")
        out.flush()


def chosen(options):
    """Return (label, function that draws the case) of the requested cases."""
    from engine_property.acting import draw_case
    from engine_property.named import NAMED

    if options.named is not None:
        names = options.named or list(NAMED)
        return [(f"--named {name}", NAMED[name]) for name in names]
    seeds = range(options.seed, options.seed + options.count)
    return [(f"--seed {seed}", lambda seed=seed: draw_case(seed)) for seed in seeds]


def main():
    options = arguments()
    with_checked_memory()
    import tried

    from randrop.pycaffe.build import import_caffe

    caffe = import_caffe()
    cases = chosen(options)
    jobs = max(1, min(options.jobs, len(cases)))
    pipes = []
    for job in range(jobs):
        reading, writing = os.pipe()
        if os.fork() == 0:
            os.close(reading)
            with os.fdopen(writing, "w") as out:
                work(caffe, options, cases[job::jobs], out)
            sys.stdout.flush()
            os._exit(0)
        os.close(writing)
        pipes.append(os.fdopen(reading))
    start = time.monotonic()
    sums, tensors, flips, failed = collections.Counter(), 0, 0, False
    for pipe in pipes:
        for line in pipe:
            told = json.loads(line)
            sums[told["what"]] += 1
            tensors += told["tensors"]
            flips += told["flips"]
            if told["what"] == "failed":
                failed = True
                print(f"FAILED: {line_of(told['label'])}\n  {told['why']}", flush=True)
            elif not options.quiet and told["what"] != "ok":
                print(f"{told['label']}: {told['what']}: {told['why']}", flush=True)
    told = ", ".join(f"{count} {what}" for what, count in sorted(sums.items()))
    print(f"{sum(sums.values())} nets: {told}; {tensors} tensors; {flips} drawn anew")
    missing = len(cases) - sum(sums.values())
    if missing and not options.seconds:
        print(f"FAILED: {missing} nets have no verdict")
        sums["failed"] += missing
        failed = True
    seconds = time.monotonic() - start
    seed = options.seed if options.named is None else None
    what = "nets, oneDNN against Caffe"
    if "libasan" in os.environ.get("LD_PRELOAD", ""):
        what = f"sanitizers: {what}"
    tried.add(options.tried, what, sum(sums.values()), sums["failed"], seconds, seed)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
