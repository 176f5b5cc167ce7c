#!/usr/bin/env python3
"""The plan and the binding inside runs of several ranks, as --verbose reports them."""
import json
import os
import re
import shutil

import job
import program
from program import MODEL

# Nodes are described to hwloc: what is bound on them is reported, and nothing happens to this machine.
FOUR_DOMAINS = "numa:4(memory=64GiB) core:2 pu:2"
SMALL = ("generate", "--model", MODEL, "--prompt", "The grass is", "-n", 2, "--temperature", 0)


class Ranks(job.JobTest):
    def run_on(self, node, n_ranks, *options):
        """A run of SMALL on ranks that see this node, with its lines about the ranks."""
        done = self.run_job("-n", n_ranks, "-x", f"HWLOC_SYNTHETIC={node}", program.PROGRAM, *SMALL, "--verbose",
                            *options)
        self.assertEqual(done.returncode, 0, done.stderr)
        log = done.stderr.decode()
        return done.stdout, log, re.findall(r"rank (\d+) on \S+: (.*)", log)

    def test_each_rank_gets_a_domain_and_is_reported_in_order(self):
        _, log, lines = self.run_on(FOUR_DOMAINS, 4)
        self.assertIn("ranks 4 = ", log)
        self.assertEqual([int(rank) for rank, _ in lines], [0, 1, 2, 3])
        for rank, line in lines:
            rank = int(rank)
            self.assertIn(f"cores {4 * rank},{4 * rank + 2} of NUMA node {rank}, memory there, threads 2", line)

    def test_ranks_of_a_domain_divide_it(self):
        for n_ranks, first in ((3, "cores 0,2,4 of NUMA node 0-1"), (8, "cores 0 of NUMA node 0, memory there")):
            _, _, lines = self.run_on(FOUR_DOMAINS, n_ranks)
            self.assertEqual(len(lines), n_ranks)
            self.assertIn(first, lines[0][1])
            cores = [re.search(r"cores (\S+)", line)[1].split(",") for _, line in lines]
            self.assertEqual(sorted(int(core) for own in cores for core in own), list(range(0, 16, 2)))

    def test_more_ranks_than_cores(self):
        _, log, lines = self.run_on("numa:1(memory=64GiB) core:2 pu:1", 3)
        self.assertIn("3 ranks share 2 cores", log)
        for _, line in lines:
            self.assertIn("threads 1 on any of 2 cores", line)

    def test_who_waits_gives_way_unless_told_otherwise(self):
        node = "HWLOC_SYNTHETIC=numa:1(memory=64GiB) core:2 pu:1"
        command = ("-n", 3, "-x", node, "env", "-u", "OMPI_MCA_mpi_yield_when_idle")
        done = self.run_job(*command, program.PROGRAM, *SMALL, "--verbose")
        self.assertIn(b"let one another run", done.stderr)
        done = self.run_job(*command, "OMPI_MCA_mpi_yield_when_idle=0", program.PROGRAM, *SMALL)
        self.assertEqual(done.returncode, 0)
        self.assertRegex(done.stderr.decode(), r"\[warning\] .*3 ranks share 2 cores and hold them")

    def test_damage_that_one_stage_reads_ends_all(self):
        content = program.CHECKPOINT.read_bytes()
        model = self.folder / "damaged"
        model.mkdir()
        shutil.copy(MODEL / "config.json", model)
        tokens = self.file("tokens.txt", "10 20 30 40 50")
        n_refused = 0
        for i in range(1, 8):
            with self.subTest(eighth=i):
                damaged = bytearray(content)
                damaged[len(content) * i // 8] ^= 1
                (model / program.CHECKPOINT.name).write_bytes(damaged)
                done = self.run_ranks(2, "logits", "--model", model, "--tokens", tokens, "--hash", "--stages", 2)
                if done.returncode != 0:
                    self.assert_reported_once(done, "(rank [01] on .*: )?.*damaged: expected checksum .*")
                    n_refused += 1
        self.assertGreater(n_refused, 3)

    def test_nothing_is_reported_unasked(self):
        done = self.run_job("-n", 2, program.PROGRAM, *SMALL)
        self.assertEqual((done.returncode, done.stderr.count(b"\n")), (0, 1), done.stderr)

    def test_the_grid_is_the_users_or_the_planners(self):
        alone = self.output(*SMALL)
        for options, grid in (((), "stages"), (("--stages", 2), "stages 2 x shards 1"),
                              (("--shards", 2), "stages 1 x shards 2")):
            with self.subTest(options=options):
                text, log, lines = self.run_on(FOUR_DOMAINS, 2, *options)
                self.assertEqual(text, alone)
                self.assertIn(grid, log)
                self.assertEqual(len(lines), 2)

    def last_blocks(self, command, *options):
        """Those of the last of 4 stages of the demo model, as they are cut for this."""
        done = self.run_job("-n", 4, "-x", f"HWLOC_SYNTHETIC={FOUR_DOMAINS}", program.PROGRAM, command, *options,
                            "--model", MODEL, "--stages", 4, "--verbose")
        self.assertEqual(done.returncode, 0, done.stderr)
        return re.findall(r"stage 3 \(blocks (\S+)\)", done.stderr.decode())

    def test_stages_are_cut_for_what_a_command_does(self):
        decoding, prompts = ["5"], ["4-5"]  # which do not need the head
        once = ("--repeats", 1, "--warmups", 0)
        self.assertEqual(self.last_blocks("bench", "decode", "--context", 99, "--tokens", 1, *once), decoding)
        self.assertEqual(self.last_blocks("bench", "prefill", "--context", 100, *once), prompts)
        tokens = ("--tokens", self.file("ids.txt", "1," * 99 + "1"))
        self.assertEqual(self.last_blocks("logits", *tokens, "--hash"), decoding)
        self.assertEqual(self.last_blocks("logits", *tokens, "--hash", "--positions", 99), prompts)
        self.assertEqual(self.last_blocks("generate", "--prompt", "x", "-n", 99), decoding)
        self.assertEqual(self.last_blocks("generate", "--prompt", "x" * 99, "-n", 1), prompts)
        text = self.file("text.txt", "x" * 99)
        question = self.file("question.jsonl", json.dumps({"input": "x" * 60, "outputs": ["y"]}))
        asked = ("eval", "jsonl", "--input", question)
        self.assertEqual(self.last_blocks(*asked, "--new-tokens", 1, "--out", self.folder / "1.jsonl"), prompts)
        self.assertEqual(self.last_blocks(*asked, "--new-tokens", 60, "--out", self.folder / "60.jsonl"), decoding)
        out = self.folder / "losses.jsonl"
        self.assertEqual(self.last_blocks("eval", "loss", "--texts", text, "--lengths", 98, "--out", out), decoding)

    def test_really_binds(self):
        if len(os.sched_getaffinity(0)) < 2:
            self.skipTest("one core")
        _, ranks = self.start_writing("-n", 2, *self.long_run())
        cores = [os.sched_getaffinity(ranks[rank]) for rank in (0, 1)]
        self.assertFalse(cores[0] & cores[1], cores)


class Refusals(job.JobTest):
    def test_grids_that_contradict(self):
        self.assert_reported_once(self.run_ranks(3, *SMALL, "--stages", 2), "--stages: 3 ranks .*")
        self.assert_reported_once(self.run_ranks(3, *SMALL, "--stages", 2, "--shards", 2), "--stages, --shards: .*")
        self.assert_refused([*SMALL, "--stages", 2], "--stages")

    def test_reference_mode_runs_on_one_rank(self):
        tokens = self.file("ids.txt", "1,2,3")
        done = self.run_ranks(2, "logits", "--model", MODEL, "--tokens", tokens, "--attention", "reference")
        self.assert_reported_once(done, "--attention reference: .* one rank; found 2 ranks")

    def test_what_fits_on_no_rank(self):
        self.assert_reported_once(self.run_ranks(2, *SMALL[:-4], "-n", 4 * 10**9),
                                  r"-n: .* tokens need .* each of 2 ranks has .* ranks with as much each would do")

    def test_ranks_whose_bits_would_differ(self):
        env = ["env", "LONGREACH_ISA=portable"]
        command = self.one_differs(1, [*env, program.PROGRAM, *SMALL], [program.PROGRAM, *SMALL])
        self.assert_reported_once(self.run_job("-n", 3, command),
                                  "rank 0 on .* and rank 1 on .* with portable.*LONGREACH_ISA=.*")

    def test_ranks_that_run_something_else(self):
        command = self.one_differs(2, [program.PROGRAM, *SMALL, "--top-k", 2], [program.PROGRAM, *SMALL])
        self.assert_reported_once(self.run_job("-n", 3, command), "rank 0 on .* and rank 2 on .* model and options.*")


if __name__ == "__main__":
    program.main()
