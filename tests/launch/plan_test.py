#!/usr/bin/env python3
"""The command plan: what it plans for the demo model on machines that are described to it."""
import json
import os
import re

import program
from program import MODEL

NODE = "numa:2(memory=64GiB) core:8 pu:2"
SMALL_NODE = "numa:2(memory=48MiB) core:2 pu:1"


class PlanTest(program.ProgramTest):
    def arguments(self, *args, model=MODEL, context=65536, topology=NODE):
        return ["plan", "--model", model, "--context", context, "--topology", topology, *args]

    def plan(self, *args, **options):
        return json.loads(self.output(*self.arguments(*args, "--json", **options)))

    def text(self, *args, **options):
        return self.output(*self.arguments(*args, **options)).decode()


class Plans(PlanTest):
    def test_one_rank_on_this_machine(self):
        plan = json.loads(self.output("plan", "--model", MODEL, "--context", 1000, "--json"))
        self.assertEqual((plan["replicas"], plan["stages"], plan["shards"], plan["nodes"]), (1, 1, 1, 1))
        self.assertEqual(plan["ranks"][0]["blocks"], [0, 6])
        self.assertEqual(plan["ranks"][0]["heads"], [0, 2])
        self.assertGreater(plan["seconds_per_token"], 0)

    def test_the_cache_takes_what_its_format_does(self):
        plans = {kv: self.plan("--kv", kv) for kv in ("f32", "bf16", "int8")}
        for kv, plan in plans.items():
            self.assertEqual((plan["weights"], plan["kv"]), ("bf16", kv))
            self.assertIn(f"kv {kv},", self.text("--kv", kv))
        cache = {kv: plan["ranks"][0]["bytes"]["cache"] for kv, plan in plans.items()}
        self.assertEqual(cache["bf16"] * 2, cache["f32"])
        self.assertEqual(cache["int8"] * 256, cache["f32"] * 66)  # chunks of 64 have nothing to fill up
        self.assertLess(plans["int8"]["seconds_per_token"], plans["bf16"]["seconds_per_token"])
        self.assertLess(plans["bf16"]["seconds_per_token"], plans["f32"]["seconds_per_token"])

    def test_all_grids_cover_the_model(self):
        for n_ranks in (1, 2, 3, 5, 8, 37, 64, 4096):
            with self.subTest(ranks=n_ranks):
                plan = self.plan("--ranks", n_ranks)
                self.assertEqual(len(plan["ranks"]), n_ranks)
                self.assertEqual(plan["stages"] * plan["shards"], n_ranks)
                blocks = [block for stage in plan["stage_plans"] for block in range(*stage["blocks"])]
                self.assertEqual(blocks, list(range(6)))
                for rank in plan["ranks"]:
                    parts = rank["bytes"]
                    self.assertEqual(sum(parts[name] for name in ("weights", "states", "cache", "means", "buffers",
                                                              "program")),
                                     parts["total"])
                    self.assertLessEqual(parts["total"], parts["available"])

    def test_a_given_grid_is_kept(self):
        for stages, shards in ((1, 1), (6, 1), (1, 16), (2, 3), (3, 2)):
            plan = self.plan("--stages", stages, "--shards", shards)
            self.assertEqual((plan["stages"], plan["shards"]), (stages, shards))
            self.assertEqual(len(plan["ranks"]), stages * shards)

    def test_nodes_and_bandwidths_are_what_is_said(self):
        plan = self.plan("--ranks", 8, "--nodes", 2)
        self.assertEqual(plan["nodes"], 2)
        self.assertEqual([rank["node"] for rank in plan["ranks"]], [0] * 4 + [1] * 4)
        slow = self.plan("--bandwidth", 1, "--threads", 1)["seconds_per_token"]  # of which none is waiting
        self.assertAlmostEqual(slow / self.plan("--bandwidth", 10, "--threads", 1)["seconds_per_token"], 10)
        grid = ("--stages", 2, "--shards", 4)
        self.assertLess(self.plan(*grid)["seconds_per_token"],
                        self.plan(*grid, "--network-latency", 1000)["seconds_per_token"])
        self.assertLess(self.plan(*grid)["seconds_per_token"],
                        self.plan(*grid, "--network-bandwidth", 0.001)["seconds_per_token"])

    def test_prompts_and_decoding_have_times_of_their_own(self):
        grid = ("--stages", 3, "--shards", 2)
        plan = self.plan(*grid)
        for stage in plan["stage_plans"]:
            prompt = stage["prompt"]
            self.assertAlmostEqual(prompt["seconds_per_token"], sum(prompt[f"{part}_seconds"] for part in
                                                                    ("arithmetic", "waiting", "exchange", "transfer")))
            self.assertGreater(prompt["arithmetic_seconds"], 0)
        slowest = max(stage["prompt"]["seconds_per_token"] for stage in plan["stage_plans"])
        self.assertAlmostEqual(plan["prompt_tokens_per_second"] * slowest, 1)
        text = self.text(*grid)
        self.assertIn(f"prompts {plan['prompt_tokens_per_second']:.1f} tokens/s", text)
        self.assertIn("prompt, ms/token", text)
        for stage in plan["stage_plans"]:
            for seconds in (stage["seconds_per_token"], stage["prompt"]["seconds_per_token"]):
                self.assertIn(f" {seconds * 1e3:.4f}  ", text)

    def test_threads_wait_for_each_other(self):
        [one], [many] = (self.plan("--threads", threads)["stage_plans"] for threads in (1, 4))
        self.assertEqual((one["waiting_seconds"], one["prompt"]["waiting_seconds"]), (0, 0))
        self.assertAlmostEqual(many["waiting_seconds"], (6 * 6 + 1) * 2 * 0.5e-6)  # log2(4) times that of two
        self.assertLess(many["prompt"]["waiting_seconds"], many["waiting_seconds"])

    def test_the_speed_of_a_core_counts_for_prompts_alone(self):
        slow, fast = (self.plan("--arithmetic", gflops, "--threads", 1) for gflops in (10, 1000))
        self.assertAlmostEqual(fast["prompt_tokens_per_second"] / slow["prompt_tokens_per_second"], 100)
        self.assertEqual(fast["seconds_per_token"], slow["seconds_per_token"])
        self.assertEqual(self.plan("--arithmetic", 100), self.plan())

    def test_the_share_of_prompts_decides_the_stages(self):
        plans = {share: self.plan("--stages", 4, "--prompt-share", share, model="preset:rwkv-x-0.2b")
                 for share in (0, 0.9, 1)}
        self.assertEqual([plan["prompt_share"] for plan in plans.values()], [0, 0.9, 1])
        last = [end - begin for begin, end in (plan["stage_plans"][-1]["blocks"] for plan in plans.values())]
        self.assertEqual(last[2], 4, "a quarter of 16 blocks, as the head does not count")
        self.assertLess(last[0], last[2])
        self.assertTrue(last[0] <= last[1] <= last[2], last)
        self.assertGreater(plans[1]["prompt_tokens_per_second"], plans[0]["prompt_tokens_per_second"])
        self.assertGreater(plans[0]["tokens_per_second"], plans[1]["tokens_per_second"])

    def test_the_share_is_by_default_that_of_generate(self):
        self.assertAlmostEqual(self.plan(context=1024)["prompt_share"], 0.75)
        self.assertEqual(self.plan(context=256)["prompt_share"], 0)
        self.assertEqual(self.plan(context=10)["prompt_share"], 0)

    def test_the_environment_can_describe_the_machine(self):
        plan = json.loads(self.output("plan", "--model", MODEL, "--context", 65536, "--ranks", 4, "--json",
                                      env={**os.environ, "HWLOC_SYNTHETIC": NODE}))
        self.assertEqual(plan, self.plan("--ranks", 4))

    def test_a_saved_context_need_not_fit_into_memory(self):
        saved = ("--cache-memory", "16M")
        for grid in ((), ("--stages", 2, "--shards", 2)):
            with self.subTest(grid=grid):
                whole, plan = self.plan(*grid, context=10_000_000), self.plan(*grid, *saved, context=10_000_000)
                self.assertEqual(whole["bytes_on_disk"], 0)
                # Chunks are on disk, states are a tenth of them at most.
                cache = sum(rank["bytes"]["cache"] for rank in whole["ranks"])
                self.assertTrue(0.99 * cache < plan["bytes_on_disk"] < 1.11 * cache, plan["bytes_on_disk"])
                for rank, of_whole in zip(plan["ranks"], whole["ranks"]):
                    self.assertEqual(rank["bytes"]["means"], of_whole["bytes"]["means"])
                    # What may be held, and what is read between two states and not on disk yet.
                    self.assertTrue(16 << 20 <= rank["bytes"]["cache"] < of_whole["bytes"]["cache"] / 10, rank)
        self.assertIn("at most 16.8 MB", self.text(*saved))
        self.assertNotIn("on disk", self.text())
        needs_two = self.arguments(topology=SMALL_NODE)
        self.assert_refused(needs_two, "--ranks")
        self.assertEqual(len(json.loads(self.output(*needs_two, "--cache-memory", "1M", "--json"))["ranks"]), 1)

    def test_text_says_the_same(self):
        text = self.text("--stages", 2, "--shards", 2)
        self.assertIn("ranks 4 = stages 2 x shards 2, nodes 2", text)
        for rank in self.plan("--stages", 2, "--shards", 2)["ranks"]:
            self.assertIn(f"{rank['bytes']['total'] / 1e6:.1f} MB", text)

    def test_thousands_of_ranks_are_reported_in_few_lines(self):
        text = self.text("--ranks", 4096)
        self.assertLess(text.count("\n"), 60)
        ranges = re.findall(r"^ *(\d+)(?:-(\d+))? +\d+(?:-\d+)? +\d+ +\d+ +\d+ +\d+ +\d+ ", text, re.MULTILINE)
        self.assertEqual(sum(int(last or first) - int(first) + 1 for first, last in ranges), 4096)


class Refusals(PlanTest):
    def test_reference_mode_runs_on_one_rank(self):
        self.assertEqual(len(self.plan("--attention", "reference")["ranks"]), 1)
        for grid in (["--ranks", 2], ["--stages", 2], ["--shards", 2], ["--stages", 2, "--shards", 2]):
            with self.subTest(grid=grid):
                self.assert_refused(self.arguments("--attention", "reference", *grid), "--attention reference", "one rank")

    def test_names_the_number_of_ranks_that_fits(self):
        done = self.run_program(*self.arguments(topology=SMALL_NODE))
        self.assert_one_sentence(done, "--ranks")
        needed = int(re.search(rb"--ranks (\d+) would fit", done.stderr)[1])
        self.assertEqual(len(self.plan("--ranks", needed, topology=SMALL_NODE)["ranks"]), needed)
        self.assert_refused(self.arguments("--ranks", needed - 1, topology=SMALL_NODE), f"--ranks {needed} would fit")

    def test_names_the_nodes_when_ranks_do_not_help(self):
        self.assert_refused(self.arguments("--nodes", 1, "--ranks", 2, topology=SMALL_NODE), "--ranks", "--nodes")

    def test_grids_that_contradict(self):
        self.assert_refused(self.arguments("--ranks", 4, "--stages", 3, "--shards", 2), "--stages", "--shards", "4")
        self.assert_refused(self.arguments("--stages", 7), "--stages", "6")
        self.assert_refused(self.arguments("--ranks", 9, "--stages", 2), "--stages")

    def test_what_is_no_topology(self):
        for topology in ("", "sofa:2", self.folder / "absent.xml", self.file("empty.xml", "")):
            self.assert_refused(self.arguments(topology=topology), "--topology")
        self.assert_refused(self.arguments(topology=self.folder / "absent.xml"), "absent.xml", "no such file")

    def test_reference_mode_saves_nothing(self):
        self.assert_refused(self.arguments("--attention", "reference", "--cache-memory", "1G"), "--attention reference")

    def test_values(self):
        for option, values in {"--context": ("0", "x"), "--ranks": ("0", "4097"), "--nodes": ("0",),
                               "--bandwidth": ("0", "nan"), "--arithmetic": ("0", "x"),
                               "--cache-memory": ("0", "much"), "--prompt-share": ("-0.1", "1.01", "nan", "half"), "--network-latency": ("-1",)}.items():
            for value in values:
                with self.subTest(option=option, value=value):
                    self.assert_refused(["plan", "--model", MODEL, "--context", 10, option, value], option)


if __name__ == "__main__":
    program.main()
