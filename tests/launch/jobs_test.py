#!/usr/bin/env python3
"""Jobs of several ranks under mpirun: which rank reports what, and how all end when one fails."""
import os
import re
import resource
import signal
import socket

import job
import program
from program import MODEL

HOST = re.escape(socket.gethostname())


class CommandsForOneRank(job.JobTest):
    def test_the_leader_runs_them_and_the_others_wait(self):
        for command in (["tokenize", "--model", MODEL, "--text", "The grass is"], ["inspect", "--model", MODEL],
                        ["--help"],
                        ["plan", "--model", MODEL, "--context", 100, "--ranks", 2, "--topology", "core:2 pu:1"]):
            with self.subTest(command=command[0]):
                done = self.run_ranks(3, *command)
                self.assertEqual((done.returncode, done.stderr), (0, b""))
                self.assertEqual(done.stdout, self.output(*command))

    def test_the_leader_alone_reads_standard_input(self):
        done = self.run_ranks(3, "tokenize", "--model", MODEL, stdin=b"abc")
        self.assertEqual((done.returncode, done.stdout), (0, b"97 98 99\n"))

    def test_they_fail_with_one_sentence(self):
        self.assert_reported_once(self.run_ranks(3, "tokenize", "--model", self.folder / "none"),
                                  f"{re.escape(str(self.folder))}/none: cannot be opened: .*")


class Failures(job.JobTest):
    def test_a_wrong_option_is_reported_once(self):
        self.assert_reported_once(self.run_ranks(3, "generate", "--model", MODEL, "-n", "x"), ".*-n.*")
        self.assert_reported_once(self.run_ranks(2, "nonsense"), ".*nonsense.*")

    def test_a_model_nobody_can_open_is_reported_once(self):
        self.assert_reported_once(self.run_job("-n", 3, *self.generate(self.folder / "none")),
                                  f"{re.escape(str(self.folder))}/none: cannot be opened: .*")

    def test_a_model_one_rank_cannot_open(self):
        for rank in range(3):
            with self.subTest(rank=rank):
                command = self.one_differs(rank, self.generate(self.folder / "none"), self.generate(MODEL))
                self.assert_reported_once(self.run_job("-n", 3, command),
                                          f"rank {rank} on {HOST}: {re.escape(str(self.folder))}/none: [^()]*")

    def test_models_several_ranks_cannot_open(self):
        command = self.one_differs(0, self.generate(MODEL), self.generate(self.folder / "none"))
        self.assert_reported_once(self.run_job("-n", 4, command),
                                  f"rank 1 on {HOST}: {re.escape(str(self.folder))}/none: .* \\(and 2 more ranks\\)")

    def test_a_killed_rank_ends_the_job(self):
        for rank in range(3):
            with self.subTest(rank=rank):
                running, ranks = self.start_writing("-n", 3, *self.long_run())
                os.kill(ranks[rank], signal.SIGKILL)
                done = self.finish(running)
                self.assertNotEqual(done.returncode, 0)
                self.assertRegex(done.stderr.decode(), rf"rank {rank} .*on node {HOST} exited on signal 9")
                self.assert_gone(ranks.values())

    def test_a_rank_that_runs_out_of_memory_ends_the_job(self):
        running, ranks = self.start_writing("-n", 3, *self.long_run())
        # What it has is all it gets; its cache grows with every chunk.
        resource.prlimit(ranks[1], resource.RLIMIT_AS, (1, 1))
        done = self.finish(running)
        self.assertNotEqual(done.returncode, 0)
        if not program.is_sanitized():  # sanitizers report and end the process themselves
            self.assertEqual(self.reports(done), [f"longreach: rank 1 on {socket.gethostname()}: not enough memory"])
        self.assert_gone(ranks.values())


if __name__ == "__main__":
    program.main()
