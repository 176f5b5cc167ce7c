#!/usr/bin/env python3
"""Runs `longreach logits` over folders of golden cases and compares with the expected logits.

    golden_test.py PROGRAM [FOLDER...] [--launch "mpirun -n 2"] [--options "--stages 2"] [--stored-weights]

By default the folders are data/ and more/ beside this file; README.md there says what a folder holds.
Every run is made with one and with two threads. It fails when a logit is further from the expected one
than the run's tolerance, and when computations that must have the same bits differ in one: the same run
with another number of threads, and runs that are different splits of the same tokens (they share a file
of expected logits). The comparer is tried on planted faults first. Only the standard library is used.
"""
import argparse
import array
import ast
import collections
import concurrent.futures
import hashlib
import itertools
import json
import math
import pathlib
import shlex
import subprocess
import sys
import tempfile

PROGRAMS_AT_A_TIME = 2
PROGRAM_SECONDS = 300  # nothing may hang
FAULTS_SHOWN = 20

Array = collections.namedtuple("Array", "shape values")


def read_npy(path):
    """A little-endian float32 .npy file in C order -> Array of a shape and flat values."""
    raw = path.read_bytes()
    if raw[:6] != b"\x93NUMPY":
        raise ValueError(f"{path} is no .npy file")
    length_bytes = 2 if raw[6] == 1 else 4
    start = 8 + length_bytes
    end = start + int.from_bytes(raw[8:start], "little")
    header = ast.literal_eval(raw[start:end].decode("latin1"))
    if header["descr"] != "<f4" or header["fortran_order"]:
        raise ValueError(f"{path}: expected float32 in C order, found {header}")
    values = array.array("f", raw[end:])
    if len(values) != math.prod(header["shape"]):
        raise ValueError(f"{path}: {len(values)} values for shape {header['shape']}")
    return Array(tuple(header["shape"]), values)


def compare(got, want, tolerance):
    """-> (largest absolute difference, None or a sentence saying what is wrong)."""
    if got.shape != want.shape:
        return math.inf, f"shape {list(got.shape)}, expected {list(want.shape)}"
    worst, where, beyond = 0.0, 0, 0
    for index, (g, w) in enumerate(zip(got.values, want.values)):
        error = abs(g - w)
        if not error <= tolerance:  # in this form a NaN on either side is refused, too
            beyond += 1
        if not error <= worst:
            worst, where = (error if error == error else math.inf), index
    if beyond:
        return worst, (f"{beyond} of {len(want.values)} logits are beyond {tolerance:g}; the worst, {where}: "
                       f"{got.values[where]:.9g}, expected {want.values[where]:.9g}")
    return worst, None


def comparer_faults():
    """The comparer must refuse these, and accept the last ones. -> sentences"""
    shape, good = (2, 3), [1.0, -2.0, 3.0, -4.0, 5.0, 6.0]
    nan, inf = math.nan, math.inf

    def changed(*pairs):
        values = list(good)
        for index, value in pairs:
            values[index] = value
        return values

    refuse = {
        "a wrong sign": changed((0, -1.0)),
        "a wrong negative": changed((1, -2.1)),
        "a value far below": changed((1, -1e30)),
        "one logit off": changed((5, 6.002)),
        "NaN": changed((2, nan)),
        "NaN before a good value": changed((0, nan), (5, 6.0005)),
        "infinity": changed((3, inf)),
        "minus infinity": changed((3, -inf)),
        "swapped rows": good[3:] + good[:3],
    }
    faults = [f"the comparer accepts {name}" for name, values in refuse.items()
              if compare(Array(shape, values), Array(shape, good), 1e-3)[1] is None]
    if compare(Array(shape, good), Array(shape, changed((2, nan))), 1e-3)[1] is None:
        faults.append("the comparer accepts NaN as the expected value")
    if compare(Array((3, 2), good), Array(shape, good), 1e-3)[1] is None:
        faults.append("the comparer accepts another shape")
    if compare(Array((1, 3), good[:3]), Array(shape, good), 1e-3)[1] is None:
        faults.append("the comparer accepts missing rows")
    for name, values in {"equal values": good, "values within the tolerance": changed((4, 5.0009))}.items():
        if compare(Array(shape, values), Array(shape, good), 1e-3)[1] is not None:
            faults.append(f"the comparer refuses {name}")
    return faults


def calls_text(calls):
    """[40, 1, 1, 1] -> '40,1*3', the form of --calls."""
    groups = [(length, len(list(group))) for length, group in itertools.groupby(calls)]
    return ",".join(f"{length}*{times}" if times > 1 else str(length) for length, times in groups)


Outcome = collections.namedtuple("Outcome", "name mode expected_file error digest fault")


def execute(args, folder, case, run, threads):
    """One run of the program -> Outcome."""
    name = f"{folder.name}/{case['name']}/{run['name']} with {threads} threads"
    expected_file, config = folder / run["logits"], run["config"]

    def failed(fault):
        return Outcome(name, run["mode"], expected_file, math.inf, None, fault)

    with tempfile.TemporaryDirectory() as work:
        out = pathlib.Path(work) / "logits.npy"
        command = [*shlex.split(args.launch), args.program, "logits",
                   "--model", folder / case["checkpoint"], "--tokens", folder / case["tokens"],
                   "--calls", calls_text(run["calls"]), "--positions", ",".join(map(str, run["positions"])),
                   "--attention", run["mode"], "--chunk-size", config["chunk"], "--top-k", config["topk"],
                   "--kv-max", config["kv_max"], "--kv-min", config["kv_min"], "--kv-window", config["kv_window"],
                   *(["--decode-full"] if config["decode_full"] else []),
                   *([] if args.stored_weights else ["--weights", "f32"]), "--kv", "f32", "--threads", threads, "--out", out, "--hash",
                   *shlex.split(args.options)]
        command = [str(word) for word in command]
        try:
            done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                                  timeout=PROGRAM_SECONDS, check=False)
        except subprocess.TimeoutExpired:
            return failed(f"still running after {PROGRAM_SECONDS} s: {shlex.join(command)}")
        if done.returncode != 0:
            return failed(f"exit code {done.returncode}: {done.stderr.strip()[-2000:]}\n  {shlex.join(command)}")
        try:
            got = read_npy(out)
        except (OSError, ValueError) as problem:
            return failed(str(problem))
    error, fault = compare(got, read_npy(expected_file), run["tolerance"])
    digest = hashlib.sha256(got.values.tobytes()).hexdigest()
    if fault is None and done.stdout.split()[-1:] != [digest]:
        fault = f"--hash ends with {done.stdout[-80:]!r}, the logits of --out have {digest}"
    return Outcome(name, run["mode"], expected_file, error, digest, fault)


def main():
    here = pathlib.Path(__file__).resolve().parent
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("folders", nargs="*", type=pathlib.Path, default=[here / "data", here / "more"])
    parser.add_argument("--launch", default="", help="put before the program")
    parser.add_argument("--options", default="", help="put behind the options of every run")
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--stored-weights", action="store_true", help="keep weights as the files do, not in f32")
    args = parser.parse_args()

    faults = comparer_faults()
    with concurrent.futures.ThreadPoolExecutor(PROGRAMS_AT_A_TIME) as pool:
        jobs = [pool.submit(execute, args, folder, case, run, threads)
                for folder in args.folders
                for case in json.loads((folder / "manifest.json").read_text())["cases"]
                for run in case["runs"] for threads in args.threads]
        outcomes = [job.result() for job in jobs]
    faults += [f"{outcome.name}: {outcome.fault}" for outcome in outcomes if outcome.fault]

    same_bits = collections.defaultdict(dict)
    for outcome in outcomes:
        if outcome.digest:
            same_bits[outcome.expected_file].setdefault(outcome.digest, outcome.name)
    for names in same_bits.values():
        if len(names) > 1:
            faults.append(f"these must have the same bits: {'; '.join(names.values())}")

    for mode in sorted({outcome.mode for outcome in outcomes}):
        errors = [outcome.error for outcome in outcomes if outcome.mode == mode]
        print(f"{mode}: worst error {max(errors):.2e} in {len(errors)} runs")
    for fault in faults[:FAULTS_SHOWN]:
        print(fault)
    print(f"{len(outcomes)} runs, {len(faults)} faults")
    return 0 if outcomes and not faults else 1


if __name__ == "__main__":
    sys.exit(main())
