#!/usr/bin/env python3
"""The time from a command to its first token, and the memory of all its ranks, for models that are packed or not.

    start_up.py PROGRAM REPEATS MODEL,WEIGHTS,RANKS ...

Cases are run in turn, after one run each that is not counted. Memory is the largest sum over ranks that was seen of their
proportional shares, and of these what is anonymous and what is of files.
"""
import pathlib
import statistics
import subprocess
import sys
import threading
import time

KINDS = ("Pss", "Pss_Anon", "Pss_File")
EVERY_SECONDS = 0.01


def ranks_of(launcher):
    """Process ids of the program, which is the launcher itself or its child."""
    found = []
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            before, _, after = stat.read_text().rpartition(")")
        except OSError:
            continue  # it has ended
        pid, parent = int(before.split()[0]), int(after.split()[1])
        if before.endswith("(longreach") and launcher in (pid, parent):
            found.append(pid)
    return found


def memory_of(pids):
    """Bytes by kind."""
    sums = dict.fromkeys(KINDS, 0)
    for pid in pids:
        try:
            lines = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        for kind, _, rest in (line.partition(":") for line in lines):
            if kind in sums:
                sums[kind] += 1024 * int(rest.split()[0])
    return sums


def run(program, model, weights, n_ranks, watches):
    """Seconds to the first token, and bytes by kind if it watches them, which costs time."""
    command = [program, "generate", "--model", model, "--weights", weights, "--tokenizer", "bytes", "--prompt", "x", "-n", "24",
               "--temperature", "0"]
    if n_ranks > 1:
        command = ["mpirun", "--oversubscribe", "-n", str(n_ranks), *command, "--shards", str(n_ranks), "--threads", "1"]
    peak, ended = dict.fromkeys(KINDS, 0), threading.Event()

    def watch():
        while not ended.wait(EVERY_SECONDS):
            for kind, n_bytes in memory_of(ranks_of(job.pid)).items():
                peak[kind] = max(peak[kind], n_bytes)
    start = time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as job:
        watcher = threading.Thread(target=watch)
        if watches:
            watcher.start()
        job.stdout.read(1)
        seconds = time.monotonic() - start
        _, errors = job.communicate()
    ended.set()
    if watches:
        watcher.join()
    if job.returncode != 0:
        sys.exit(f"{command}: {errors.decode()}")
    return seconds, peak


def main():
    program, n_repeats = sys.argv[1], int(sys.argv[2])
    cases = [(model, weights, int(n_ranks)) for model, weights, n_ranks in (case.split(",") for case in sys.argv[3:])]
    times = {case: [] for case in cases}
    for repeat in range(n_repeats + 1):
        for case in cases:
            seconds, _ = run(program, *case, watches=False)
            if repeat > 0:
                times[case].append(seconds)
    for case in cases:
        _, peak = run(program, *case, watches=True)
        seconds = times[case]
        print(f"{','.join(map(str, case))}: {statistics.median(seconds):.3f} s ({min(seconds):.3f} to {max(seconds):.3f})",
              *(f"{kind} {peak[kind] / 1e6:.0f} MB" for kind in KINDS), sep=", ")


if __name__ == "__main__":
    main()
