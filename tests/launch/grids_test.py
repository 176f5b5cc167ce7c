#!/usr/bin/env python3
"""One answer on any grid, with real ranks: bits, what is sent, traces, and where two runs part."""
import json
import pathlib
import re
import subprocess

import job
import program
from program import MODEL

FIRST_DIFFERENCE = pathlib.Path(__file__).resolve().parents[2] / "scripts/first-difference"


class GridTest(job.JobTest):
    def tokens(self, n, vocabulary):
        return self.file(f"tokens{n}", " ".join(str(i * i * 7 % vocabulary) for i in range(n)))

    def logits(self, model, tokens, stages=1, shards=1, options=(), launcher=()):
        """`logits --hash` on a grid; the finished job."""
        words = [program.PROGRAM, "logits", "--model", model, "--tokens", tokens, "--hash", "--stages", stages, "--shards",
                 shards, *options]
        if "--threads" not in options:
            words += ["--threads", 1]
        done = self.run_job("-n", stages * shards, *launcher, *words)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done

    def hash(self, *args, **options):
        return self.logits(*args, **options).stdout


class Bits(GridTest):
    def test_any_grid(self):
        # 16 blocks, 3 heads, 8 panels of columns: most shards divide nothing.
        model, tokens = "preset:rwkv-x-narrow", self.tokens(90, 256)
        want = self.hash(model, tokens)
        for stages, shards in ((2, 1), (1, 2), (3, 1), (1, 3), (2, 2), (4, 1), (1, 4), (2, 3), (8, 1), (1, 8),
                               (5, 2)):
            with self.subTest(stages=stages, shards=shards):
                self.assertEqual(self.hash(model, tokens, stages, shards), want)

    def test_splits_ways_threads_and_modes(self):
        modes = {"moba": ["--attention", "moba"], "full": ["--attention", "full"]}
        for mode, options in modes.items():
            for calls, n in (("600", 600), ("513,87", 600), ("7*21", 147), ("1*150", 150)):  # steps have 512 rows
                tokens = self.tokens(n, 256)
                want = self.hash(MODEL, tokens, options=[*options, "--calls", calls])
                way = "gather" if calls in ("600", "7*21") else "ship"
                with self.subTest(mode=mode, calls=calls, way=way):
                    self.assertEqual(self.hash(MODEL, tokens, 1, 3, [*options, "--calls", calls, "--exchange", way]), want)
        tokens, options = self.tokens(1100, 256), ["--exchange", "ship", "--threads", 2]
        self.assertEqual(self.hash(MODEL, tokens, 2, 2, options), self.hash(MODEL, tokens))

    def test_rounded_activations(self):
        tokens = self.tokens(300, 256)
        for weights, activations in (("bf16", "bf16"), ("int8", "int8"), ("int4", "int8")):
            with self.subTest(weights=weights):
                options = ["--weights", weights, "--activations", activations]
                want = self.hash(MODEL, tokens, options=options)
                self.assertNotEqual(want, self.hash(MODEL, tokens, options=["--weights", weights]))
                for calls in ("300", "1*300", "47,6,247"):
                    self.assertEqual(self.hash(MODEL, tokens, options=[*options, "--calls", calls, "--threads", 2]), want)
                self.assertEqual(self.hash(MODEL, tokens, 2, 2, options), want)
                self.assertEqual(self.hash(MODEL, tokens, 1, 3, options), want)

    def test_caches_of_fewer_bits(self):
        tokens = self.tokens(300, 256)
        for kv, stages, shards, way in (("bf16", 2, 2, "ship"), ("int8", 1, 3, "gather")):
            with self.subTest(kv=kv):
                want = self.hash(MODEL, tokens, options=["--kv", kv])
                self.assertNotEqual(want, self.hash(MODEL, tokens))
                self.assertEqual(self.hash(MODEL, tokens, stages, shards,
                                           ["--kv", kv, "--exchange", way, "--calls", "100,1*200"]), want)

    def test_prompts_shorter_than_a_chunk_and_ranks_without_chunks(self):
        for n in (1, 2, 65):
            tokens = self.tokens(n, 256)
            self.assertEqual(self.hash(MODEL, tokens, 1, 5), self.hash(MODEL, tokens))


class Bytes(GridTest):
    def test_the_count_is_that_of_the_message_passing_library(self):
        """Open MPI counts what start-up and end send, too: the difference of two runs, which plan the same, has none of it."""
        for way in ("ship", "gather"):
            counted, monitored = [], []
            for n_alone in (50, 100):
                report = self.folder / f"{way}{n_alone}"
                done = self.logits(
                    MODEL, self.tokens(200, 256), 2, 2,
                    ["--exchange", way, "--verbose", "--calls", f"{200 - n_alone},1*{n_alone}"],
                    ["--mca", "pml_monitoring_enable", 1, "--mca", "pml_monitoring_enable_output", 3,
                     "--mca", "pml_monitoring_filename", report])
                text = done.stderr.decode()
                counted.append(sum(map(int, re.findall(r"(\d+) bytes (?:to the next stage|of logits)", text))) +
                               sum(int(number) for line in re.findall(r"bytes between shards: (.*)", text)
                                   for number in re.findall(r"\d+", line)))
                monitored.append(sum(int(number) for rank in range(4)
                                     for number in re.findall(r"^E\t\d+\t\d+\t(\d+) bytes",
                                                              pathlib.Path(f"{report}.{rank}.prof").read_text(), re.M)))
            with self.subTest(way=way):
                self.assertGreater(counted[1] - counted[0], 0)
                self.assertEqual(counted[1] - counted[0], monitored[1] - monitored[0])

    def test_decoding_sends_the_same_whatever_the_context(self):
        """Between the shards of a sparse block, from the context on where there is something to choose."""
        sent = []
        for n in (600, 2400):
            totals = []
            for extra in (0, 10):
                done = self.logits(MODEL, self.tokens(n + extra, 256), 1, 2,
                                   ["--exchange", "ship", "--verbose", "--calls", f"{n}" + (",1*10" if extra else "")])
                line = re.search(r"block 2: bytes between shards: (.*)", done.stderr.decode())[1]
                totals.append({kind: int(n_bytes) for kind, n_bytes in re.findall(r"(\w+) (\d+)", line)})
            sent.append({kind: totals[1][kind] - totals[0][kind] for kind in totals[0]})
        self.assertEqual(set(sent[0]), {"columns", "queries", "candidates", "partials"})
        for kind in ("columns", "queries", "candidates"):
            self.assertEqual(sent[0][kind], sent[1][kind])
        # Which shard keeps a chosen chunk is chance: at most all partials travel.
        heads, partial_bytes, chunks = 2, 264, 3
        for run in sent:
            self.assertLessEqual(run["partials"], 10 * heads * chunks * partial_bytes)


class Traces(GridTest):
    def test_all_ranks_are_in_one_file(self):
        trace = self.folder / "trace.json"
        self.logits(MODEL, self.tokens(700, 256), 2, 2, ["--trace", trace, "--positions", "699"])
        events = json.loads(trace.read_text())["traceEvents"]
        spans = [event for event in events if event["ph"] == "X"]
        for rank in range(4):
            names = {event["name"] for event in spans if event["pid"] == rank}
            self.assertIn("read 512 tokens", names)
            self.assertIn("exchange columns", names)
            self.assertIn("block 0" if rank < 2 else "block 5", names)
        self.assertIn("wait for a step", {event["name"] for event in spans if event["pid"] == 2})
        for event in spans:
            self.assertGreaterEqual(event["ts"], 0)
            self.assertGreaterEqual(event["dur"], 0)

    def test_a_file_that_cannot_be_written_is_reported(self):
        done = self.run_job("-n", 2, program.PROGRAM, "logits", "--model", MODEL, "--tokens", self.tokens(5, 256), "--hash",
                            "--trace", self.folder / "no" / "trace.json")
        self.assertEqual(done.returncode, 2, done.stderr)
        self.assertIn("trace.json: cannot be written", "".join(self.reports(done)))


class Fingerprints(GridTest):
    def compare(self, first, second):
        return subprocess.run([FIRST_DIFFERENCE, self.folder / first, self.folder / second], capture_output=True, text=True,
                              timeout=program.SECONDS, check=False)

    def test_grids_have_the_same_and_a_change_is_found(self):
        tokens = self.tokens(200, 256)
        self.logits(MODEL, tokens, options=["--fingerprints", self.folder / "one"])
        self.logits(MODEL, tokens, 2, 3, ["--fingerprints", self.folder / "six", "--exchange", "ship"])
        same = self.compare("one", "six")
        self.assertEqual((same.returncode, same.stderr), (0, ""), same.stdout)
        self.assertRegex(same.stdout, r"no difference in \d+ fingerprints")

        path = self.folder / "one.0"
        lines = path.read_text().splitlines()
        at = next(i for i, line in enumerate(lines) if line.startswith("150 2 8 partial 1 "))
        lines[at] = lines[at][:-1] + ("0" if lines[at][-1] != "0" else "1")
        path.write_text("\n".join(lines) + "\n")
        other = self.compare("one", "six")
        self.assertEqual(other.returncode, 1)
        self.assertRegex(other.stdout, r"^position 150, block 2, tensor partial, head 1, chunk \d+: ")

    def test_what_cannot_be_compared_is_reported(self):
        done = self.compare("none", "none")
        self.assertEqual(done.returncode, 2)
        self.assertIn("no such file", done.stderr)


if __name__ == "__main__":
    program.main()
