#!/usr/bin/env python3
"""Measures contexts on disk: what saving costs while a text is read, and how soon a question is answered.

    bench/contexts.py [--program P] [--model M] [--tokens N] [--rounds N] [--questions N] [--folder DIR]

Prints a JSON line for each figure: medians of the rounds, with their smallest and largest. A text of N random letters is read
by `generate` and by `read --save` in turn, on one rank of two threads and on two ranks of one (two stages, two shards); then a
question is asked of the context, with its files in the page cache and after the system was asked to drop them; then several
questions after one another. The machine should do nothing else. Contexts go to DIR, which should be a disk's.
"""
import argparse
import json
import os
import pathlib
import random
import re
import shutil
import statistics
import subprocess
import tempfile
import time

GRIDS = {"1x1": (1, 1, 2), "2x1": (2, 1, 1), "1x2": (1, 2, 1)}  # stages, shards, threads of a rank
QUESTION = "What is the meaning?"


def words():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default="build/release/longreach")
    parser.add_argument("--model", default="preset:rwkv-x-0.2b")
    parser.add_argument("--tokens", type=int, default=65536)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--questions", type=int, default=10)
    parser.add_argument("--folder", type=pathlib.Path, default=pathlib.Path("."))
    return parser.parse_args()


class Runs:
    def __init__(self, options, folder):
        self.options, self.folder = options, folder
        self.text = folder / "text"
        source = random.Random(1)
        self.text.write_bytes(bytes(source.choice(b"abcdefghijklmnopqrstuvwxyz .,\n") for _ in range(options.tokens)))

    def run(self, grid, command, *arguments):
        """Seconds of the whole program, and what it wrote to standard error."""
        n_stages, n_shards, n_threads = GRIDS[grid]
        launcher = ["mpirun", "-n", str(n_stages * n_shards), "--bind-to", "core"] if n_stages * n_shards > 1 else []
        start = time.monotonic()
        done = subprocess.run([*launcher, self.options.program, command, "--model", self.options.model, "--tokenizer", "bytes",
                               "--stages", str(n_stages), "--shards", str(n_shards), "--threads", str(n_threads),
                               *map(str, arguments)], stdin=subprocess.DEVNULL, capture_output=True, check=True, text=True)
        return time.monotonic() - start, done.stderr

    def read_alone(self, grid):
        _, report = self.run(grid, "generate", "--prompt-file", self.text, "-n", 1)
        return self.options.tokens / float(re.search(r"prompt \d+ tokens, ([\d.]+) tokens/s", report)[1])

    def read_and_save(self, grid, context):
        _, report = self.run(grid, "read", "--file", self.text, "--save", context)
        return float(re.search(r"tokens read in ([\d.]+) s", report)[1])

    def ask(self, *arguments):
        return self.run("1x1", "generate", "--prompt", QUESTION, "-n", 1, *arguments)[0]


def drop(folder):
    """Asks the system to forget what it holds of the files."""
    for path in folder.rglob("*"):
        if path.is_file():
            file = os.open(path, os.O_RDONLY)
            os.fsync(file)
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(file)


def report(question, **figures):
    line = {"question": question}
    for name, figure in figures.items():
        if isinstance(figure, list):
            line |= {name: round(statistics.median(figure), 3), f"{name}_min": round(min(figure), 3),
                     f"{name}_max": round(max(figure), 3)}
        else:
            line[name] = figure
    print(json.dumps(line), flush=True)


def main():
    options = words()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        runs = Runs(options, pathlib.Path(folder))
        context = runs.folder / "text.ctx"
        for grid in GRIDS:
            alone, saving = [], []
            for _ in range(options.rounds):
                shutil.rmtree(context, ignore_errors=True)
                alone.append(runs.read_alone(grid))
                saving.append(runs.read_and_save(grid, context))
            ratios = [b / a for a, b in zip(alone, saving)]
            report("saving", grid=grid, tokens=options.tokens, alone_seconds=alone, saving_seconds=saving, ratio=ratios)
        without, warm, cold = [], [], []
        for _ in range(options.rounds):
            without.append(runs.ask())
            warm.append(runs.ask("--context", context))
            drop(context)
            cold.append(runs.ask("--context", context))
        report("asking", tokens=options.tokens, without_context_seconds=without, warm_seconds=warm, cold_seconds=cold)
        seconds = [runs.ask("--context", context) for _ in range(options.questions)]
        report("questions", tokens=options.tokens, n=options.questions, seconds=seconds)


if __name__ == "__main__":
    main()
