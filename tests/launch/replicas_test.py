#!/usr/bin/env python3
"""Evaluations by several replicas: the results of one, and jobs that end in any way and go on with other replicas."""
import csv
import json
import os
import re
import resource
import signal
import socket
import time

import job
import program
from evaluation import PASSKEY, EvalTest
from program import MODEL


class Replicas(EvalTest):
    LONG = ("--lengths", "3000", "--depths", "5", "--samples", "16", "--threads", 1)

    def replicas(self, n_ranks, n_replicas, *args, **options):
        """The results of a run on so many ranks that must succeed."""
        done = self.run_ranks(n_ranks, *self.command(*args, "--replicas", n_replicas, **options))
        self.assertEqual(done.returncode, 0, done.stderr)
        return self.without_grid(options.get("out"))

    def expected(self):
        whole = self.folder / "whole.jsonl"
        self.evaluate(*self.LONG, out=whole)
        return self.without_grid(whole)

    def n_lines(self):
        return self.out.read_bytes().count(b"\n") if self.out.exists() else 0

    def start_replicas(self, n_ranks, n_replicas):
        """A job that has just written some results and has more to do, and its process ids by rank."""
        n_before, ranks = self.n_lines(), {}
        running = self.start_job("-n", n_ranks, program.PROGRAM, *self.command(*self.LONG, "--replicas", n_replicas))
        end = time.monotonic() + program.SECONDS
        while time.monotonic() < end and running.poll() is None:
            if len(ranks) < n_ranks:
                ranks = job.ranks_of(running.pid)
            elif self.n_lines() >= n_before + 3:
                return running, ranks
            time.sleep(0.01)
        raise AssertionError("no results came")

    def assert_goes_on(self, n_ranks, n_replicas):
        """All lines that are there stay, and no question is asked that has one."""
        before = self.out.read_bytes()
        before = before[:before.rfind(b"\n") + 1].splitlines()
        self.assertEqual(self.replicas(n_ranks, n_replicas, *self.LONG), self.expected())
        self.assertLessEqual(set(before), set(self.out.read_bytes().splitlines()))

    def test_results_are_those_of_one(self):
        self.evaluate(*PASSKEY, "--threads", 1)
        for n_ranks, n_replicas, *grid in ((2, 2), (4, 4), (4, 2), (4, 2, "--stages", 2)):
            other = self.folder / "other.jsonl"
            args = (*PASSKEY, "--threads", 1, *grid)
            self.assertEqual(self.replicas(n_ranks, n_replicas, *args, out=other), self.without_grid())
            for result in self.results(other):
                self.assertEqual(result["grid"]["ranks"], n_ranks // n_replicas)
            self.assertEqual([path.name for path in self.folder.iterdir() if "other" in path.name], ["other.jsonl"])
            other.unlink()

    def test_questions_of_one_text(self):
        args = ["--lengths", "700,1500", "--depths", 3, "--samples", 2, "--new-tokens", 3, "--threads", 1]
        self.evaluate(*args, task="niah_multikey_2")
        other = self.folder / "other.jsonl"
        self.assertEqual(self.replicas(2, 2, *args, task="niah_multikey_2", out=other), self.without_grid())

    def test_replicas_of_reference_mode_have_one_rank_each(self):
        args = (*PASSKEY, "--threads", 1, "--attention", "reference")
        self.evaluate(*args)
        other = self.folder / "other.jsonl"
        self.assertEqual(self.replicas(2, 2, *args, out=other), self.without_grid())
        done = self.run_ranks(2, *self.command(*args, out=self.folder / "none.jsonl"))
        self.assert_reported_once(done, "--attention reference: .* one rank; found 2 ranks")

    def test_killed_and_begun_again_with_other_replicas(self):
        for n_ranks, n_replicas, killed in ((4, 2, 3), (2, 2, 1), (4, 4, 0)):
            running, ranks = self.start_replicas(n_ranks, n_replicas)
            os.kill(ranks[killed], signal.SIGKILL)
            done = self.finish(running)
            self.assertNotEqual(done.returncode, 0)
            self.assertRegex(done.stderr.decode(), rf"rank {killed} .*exited on signal 9")
            self.assert_gone(ranks.values())
        self.assert_goes_on(3, 3)

    def test_interrupted(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            running, ranks = self.start_replicas(4, 2)
            os.kill(ranks[0], number)
            done = self.finish(running)
            self.assertEqual(done.returncode, 128 + number, done.stderr)
            report = f"stopped after {self.n_lines()} of 80 questions; the same command goes on"
            self.assertEqual(done.stderr.decode().count(report), 1, done.stderr)
        self.assert_goes_on(1, 1)

    def test_a_replica_that_fails_ends_the_job(self):
        # Longer questions come after so many shorter ones that some are left when the first results
        # are seen, and need more memory than a rank has by then.
        lengths = ",".join(map(str, (*range(1000, 2000, 50), 20000)))
        self.LONG = ("--lengths", lengths, "--depths", "3", "--samples", "1", "--threads", 1)
        running, ranks = self.start_replicas(4, 2)
        resource.prlimit(ranks[2], resource.RLIMIT_AS, (1, 1))  # what it has is all it gets
        done = self.finish(running)
        self.assertNotEqual(done.returncode, 0)
        if not program.is_sanitized():  # sanitizers report and end the process themselves
            self.assertEqual(self.reports(done), [f"longreach: rank 2 on {socket.gethostname()}: not enough memory"])
        self.assert_gone(ranks.values())
        self.assert_goes_on(2, 2)

    def test_replicas_of_other_questions_are_refused(self):
        good, bad = self.folder / "good", self.folder / "bad"
        for folder, text in ((good, "a"), (bad, "b")):
            folder.mkdir()
            (folder / "q.jsonl").write_text(json.dumps({"input": text, "outputs": ["x"]}) + "\n")
        command = [[program.PROGRAM, *self.command("--input", folder / "q.jsonl", "--replicas", 2, task="jsonl")]
                   for folder in (bad, good)]
        done = self.run_job("-n", 2, self.one_differs(1, *command))
        self.assert_reported_once(done, "/.*/q.jsonl and /.*/q.jsonl: rank 0 on .* and rank 1 on .* see different contents")
        self.assertFalse(self.out.exists())

    def test_everything_is_reported_of_all_ranks(self):
        trace = self.folder / "trace.json"
        done = self.run_ranks(4, *self.command(*PASSKEY, "--threads", 1, "--replicas", 2, "--shards", 2, "--verbose",
                                               "--trace", trace))
        self.assertEqual(done.returncode, 0, done.stderr)
        log = done.stderr.decode()
        self.assertIn("ranks 4 = replicas 2 x stages 1 x shards 2, nodes 1", log)
        for rank in range(4):
            place = f"replica {rank // 2}, stage 0 .*shard {rank % 2};"
            self.assertEqual(len(re.findall(rf"rank {rank} on .*; {place}", log)), 1, log)
            self.assertEqual(log.count(f"rank {rank}: "), 1, log)
        names = [event["args"]["name"] for event in json.loads(trace.read_text())["traceEvents"]
                 if event["name"] == "process_name"]
        self.assertEqual(names, [f"rank {rank}: replica {rank // 2}, stage 0, shard {rank % 2}" for rank in range(4)])

    def test_what_was_measured_is_that_of_all(self):
        rows = {}
        for n_ranks, n_replicas in ((1, 1), (4, 2)):
            masses = self.folder / f"{n_replicas}.csv"
            done = self.run_ranks(n_ranks, *self.command(*PASSKEY, "--no-sharing", "--threads", 1, "--selection-mass", masses,
                                                         "--replicas", n_replicas, out=self.folder / f"{n_replicas}.jsonl"))
            self.assertEqual(done.returncode, 0, done.stderr)
            rows[n_replicas] = list(csv.reader(masses.read_text().splitlines()))
        self.assertGreater(len(rows[1]), 4)
        self.assertEqual([row[:5] for row in rows[1]], [row[:5] for row in rows[2]])  # block to number of queries
        for one, other in zip(rows[1][1:], rows[2][1:]):
            for number, same in zip(one[5:], other[5:]):
                self.assertAlmostEqual(float(number), float(same), places=5)  # sums in another order

    def test_refusals(self):
        self.assert_reported_once(self.run_ranks(3, *self.command(*PASSKEY, "--replicas", 2)),
                                  "--replicas: expected a number that divides the 3 ranks of the job, found 2")
        self.assert_refused(self.command(*PASSKEY, "--replicas", 2), "--replicas", "the 1 rank ")
        self.assert_refused(self.command(*PASSKEY, "--replicas", 0), "--replicas")
        self.assert_refused(["generate", "--model", MODEL, "--prompt", "x", "--replicas", 1], "--replicas")
        self.assert_reported_once(self.run_ranks(4, *self.command(*PASSKEY, "--replicas", 2, "--shards", 4)), "--shards: .*")
        self.assert_reported_once(self.run_ranks(4, *self.command("--lengths", 10**8, "--replicas", 2)),
                                  "--lengths: 100000000 tokens need .* each would do for each of 2 replicas")
        self.assertFalse(self.out.exists())
        command = self.one_differs(2, [program.PROGRAM, *self.command(*PASSKEY, "--replicas", 4)],
                                   [program.PROGRAM, *self.command(*PASSKEY, "--replicas", 2)])
        self.assert_reported_once(self.run_job("-n", 4, command), "rank 0 on .* and rank 2 on .* model and options.*")


if __name__ == "__main__":
    program.main()
