#!/usr/bin/env python3
"""The command bench: what it prints fits together and is of the size that was asked for. Nothing is timed here."""
import json
import signal
import subprocess
import time

import job
import program

TINY = "preset:rwkv-x-tiny"
HEADS, SPARSE, CHUNK, TOP_K, CHANNELS = 2, 2, 64, 3, 128

FIELDS = {"question", "preset", "context", "weights", "kv", "isa", "ranks", "stages", "shards", "threads", "repeats",
          "seconds_per_token", "tokens_per_second", "spread", "bytes_per_token", "read_bandwidth",
          "share_of_bandwidth", "version", "machine"}


# Of a key or value of one head: 64 numbers, with int8 also a scale.
ROW_BYTES = {"f32": 64 * 4, "bf16": 64 * 2, "int8": 64 + 2}


def attended_bytes(context, attention, kv="f32"):
    """Bytes of the caches of all sparse blocks that decoding reads at the end of so many tokens."""
    closed, recent = divmod(context, CHUNK)
    if attention == "full":
        rows, scored = context, 0
    else:
        rows = min(TOP_K - 1, closed) * CHUNK + recent
        scored = closed if closed > TOP_K - 1 else 0
    return SPARSE * HEADS * (2 * rows * ROW_BYTES[kv] + scored * 64 * 4)


class Bench(job.JobTest):
    def bench(self, question, *args):
        """The lines as objects, each checked for what all have in common."""
        return self.checked(question, self.output("bench", question, "--model", TINY, "--read-memory", 3, *args))

    def bench_on_ranks(self, n_ranks, question, *args):
        done = self.run_ranks(n_ranks, "bench", question, "--model", TINY, "--read-memory", 3, "--threads", 1, *args)
        self.assertEqual(done.returncode, 0, done.stderr.decode(errors="replace"))
        results = self.checked(question, done.stdout)
        for result in results:
            self.assertEqual((result["ranks"], result["stages"] * result["shards"]), (n_ranks, n_ranks))
        return results

    def checked(self, question, output):
        results = [json.loads(line) for line in output.decode().splitlines()]
        for result in results:
            self.assertLessEqual(FIELDS, set(result))
            self.assertEqual((result["question"], result["preset"]), (question, "rwkv-x-tiny"))
            seconds = result["seconds_per_token"]
            self.assertGreater(seconds, 0)
            self.assertAlmostEqual(result["tokens_per_second"] * seconds, 1)
            least, most = result["least_seconds_per_token"], result["most_seconds_per_token"]
            self.assertLessEqual(least, seconds)
            self.assertLessEqual(seconds, most)
            self.assertLessEqual(result["spread"], (most - least) / seconds * 1.000001)
            if result["repeats"] <= 10:
                self.assertAlmostEqual(result["spread"], (most - least) / seconds)
            self.assertGreater(result["read_bandwidth"], 0)
            self.assertEqual(result["read_memory"], 3 << 20)
            share = result["bytes_per_token"] / seconds / result["read_bandwidth"]
            self.assertAlmostEqual(result["share_of_bandwidth"] / share, 1)
        return results

    def weight_bytes(self):
        """Bytes of what a token reads: matrices in bf16, vectors in f32, no embedding."""
        listing = json.loads(self.output("inspect", "--model", TINY, "--json"))
        total = 0
        for group in listing["groups"]:
            for tensor in group["tensors"]:
                is_matrix = len(tensor["shape"]) == 2 and not tensor["name"].endswith("r_k")
                if tensor["name"] != "emb.weight":
                    total += tensor["bytes"] * (1 if is_matrix else 2)
        return total

    def state_bytes(self):
        return 4 * (4 * (2 * CHANNELS + 2 * HEADS * 64 * 64) + SPARSE * CHANNELS)

    def test_decode(self):
        # Bytes are reported for the middle of the repeats that count: after 2 + 3 // 2 of 1 + 5 tokens each, and 1.
        results = self.bench("decode", "--context", "100,1000", "--tokens", 5, "--repeats", 3, "--warmups", 2,
                             "--threads", 2)
        self.assertEqual([result["context"] for result in results], [100, 1000])
        for result in results:
            self.assertEqual((result["repeats"], result["warmups"], result["tokens"], result["threads"]), (3, 2, 5, 2))
            self.assertEqual((result["weights"], result["kv"], result["attention"]), ("bf16", "f32", "moba"))
            self.assertEqual(result["ranks"], result["stages"] * result["shards"])
            self.assertEqual(result["bytes_per_token"], self.weight_bytes() + self.state_bytes() +
                             attended_bytes(result["context"] + 19, "moba"))

    def test_decode_in_reference_mode(self):
        result, = self.bench("decode", "--context", 300, "--tokens", 2, "--repeats", 1, "--attention", "reference")
        self.assertEqual((result["attention"], result["streams"]), ("reference", 1))

    def test_prefill_in_reference_mode(self):
        result, = self.bench("prefill", "--context", 20000, "--repeats", 1, "--warmups", 0, "--attention", "reference")
        eighths = result["tokens_per_second_by_eighths"]
        self.assertAlmostEqual(sum(1 / speed for speed in eighths) / 8 / result["seconds_per_token"], 1, places=2)

    def test_decode_with_full_attention(self):
        result, = self.bench("decode", "--context", 1000, "--tokens", 1, "--repeats", 1, "--attention", "full")
        self.assertEqual(result["attention"], "full")
        self.assertEqual(result["spread"], 0)
        self.assertEqual(result["bytes_per_token"],
                         self.weight_bytes() + self.state_bytes() + attended_bytes(1003, "full"))

    def test_formats_of_the_cache(self):
        for kv in ("bf16", "int8"):
            result, = self.bench("decode", "--context", 1000, "--tokens", 1, "--repeats", 1, "--kv", kv)
            self.assertEqual(result["kv"], kv)
            self.assertEqual(result["bytes_per_token"],
                             self.weight_bytes() + self.state_bytes() + attended_bytes(1003, "moba", kv))

    def test_prefill(self):
        short, long = self.bench("prefill", "--context", "100,16384", "--repeats", 1, "--warmups", 0)
        self.assertEqual(short["bytes_per_token"], self.weight_bytes() // 100)
        # 10 steps, of which each reads all weights: 512, 512, 1024 rows, and 2048 in all others.
        self.assertEqual(long["bytes_per_token"], self.weight_bytes() * 10 // 16384)
        self.assertNotIn("tokens_per_second_by_eighths", short)
        eighths = long["tokens_per_second_by_eighths"]
        self.assertEqual(len(eighths), 8)
        self.assertAlmostEqual(sum(1 / speed for speed in eighths) / 8 / long["seconds_per_token"], 1, places=2)

    def test_decode_and_prefill_on_grids(self):
        whole, = self.bench("decode", "--context", 500, "--tokens", 2, "--repeats", 1)
        pipeline, = self.bench_on_ranks(2, "decode", "--context", 500, "--tokens", 2, "--repeats", 1, "--stages", 2)
        self.assertEqual(pipeline["bytes_per_token"], whole["bytes_per_token"])
        shards, = self.bench_on_ranks(3, "decode", "--context", 500, "--tokens", 2, "--repeats", 1, "--shards", 3)
        self.assertGreater(shards["bytes_per_token"], whole["bytes_per_token"])  # vectors are held by all
        self.bench_on_ranks(2, "prefill", "--context", 100, "--repeats", 1, "--shards", 2)

    def test_streams_decode_at_once(self):
        alone, = self.bench("decode", "--context", 500, "--tokens", 2, "--repeats", 1)
        self.assertEqual(alone["streams"], 1)
        for stages in (1, 2):
            with self.subTest(stages=stages):
                at_once, = self.bench_on_ranks(stages, "decode", "--context", 500, "--tokens", 2, "--repeats", 1,
                                               "--stages", stages, "--streams", 3)
                self.assertEqual((at_once["streams"], at_once["tokens"]), (3, 2))
                weights = self.weight_bytes()
                self.assertEqual(at_once["bytes_per_token"],
                                 alone["bytes_per_token"] - weights + weights * stages // 3)
        forks, = self.bench("decode", "--context", 500, "--tokens", 2, "--repeats", 1, "--streams", 3, "--forks")
        self.assertEqual((forks["streams"], forks["forks"], alone["forks"]), (3, True, False))

    def check_mixed(self, result, n_streams, n_tokens):
        """What belongs together in a line of `mixed`."""
        self.assertEqual((result["streams"], result["tokens"]), (n_streams, n_tokens))
        alone, beside = result["without_prompt"], result["with_prompt"]
        for times in (alone, beside):
            self.assertLess(0, times["p50_itl_ms"])
            self.assertLessEqual(times["p50_itl_ms"], times["p99_itl_ms"])
            self.assertLessEqual(times["p99_itl_ms"], times["max_itl_ms"])
            self.assertLessEqual(times["mean_itl_ms"], times["max_itl_ms"])
            # The stages' streams get their tokens at other times than the clock is read.
            self.assertAlmostEqual(times["output_throughput"] * times["mean_itl_ms"] / 1e3 / n_streams, 1, delta=0.5)
        self.assertAlmostEqual(result["p99_itl_ratio"], beside["p99_itl_ms"] / alone["p99_itl_ms"])
        if result["repeats"] == 1:
            self.assertAlmostEqual(result["tokens_per_second"] / alone["output_throughput"], 1)
        share = result["prompt_tokens_per_second"] / result["prompt_tokens_per_second_alone"]
        self.assertAlmostEqual(result["prompt_loss_percent"], 100 * (1 - share))

    def test_mixed(self):
        results = self.bench("mixed", "--context", "100,1000", "--prompt-tokens", 3000)
        self.assertEqual([result["context"] for result in results], [100, 1000])
        for result in results:
            self.check_mixed(result, 8, 256)
            self.assertEqual((result["prompt_tokens"], result["repeats"], result["warmups"]), (3000, 1, 0))
            self.assertNotIn("step_ms", result)
            weights = self.weight_bytes()
            self.assertEqual(result["bytes_per_token"], weights // 8 + self.state_bytes() +
                             attended_bytes(result["context"] + 128, "moba"))

    def test_mixed_as_asked(self):
        result, = self.bench("mixed", "--context", 500, "--prompt-tokens", 2000, "--streams", 3, "--forks", "--tokens", 20,
                             "--repeats", 2, "--warmups", 1, "--step-ms", 0.001)
        self.check_mixed(result, 3, 20)
        self.assertEqual((result["step_ms"], result["forks"], result["repeats"], result["warmups"]), (0.001, True, 2, 1))
        # A step that may last no time has 4 rows of the prompt: many more than with the default.
        self.assertGreater(result["with_prompt"]["output_throughput"] / 3 * 2000 / result["prompt_tokens_per_second"],
                           2000 / 4 * 0.9)

    def test_mixed_on_stages(self):
        for n_streams in (2, 3):
            result, = self.bench_on_ranks(2, "mixed", "--context", 500, "--prompt-tokens", 2000, "--stages", 2,
                                          "--streams", n_streams, "--tokens", 20)
            self.check_mixed(result, n_streams, 20)

    def test_exchange(self):
        # Per head 2 chunks of 15 are chosen, so each of 2 shards offers 2 of 8 bytes to the other one; and of 3 partials,
        # of 66 numbers, those of chunks 0, 1, 0 are on shards 0, 1, 0 for the first head, 1, 0, 1 for the second one.
        candidates, partials = self.bench_on_ranks(2, "exchange", "--context", 1000, "--tokens", 10, "--repeats", 3)
        self.assertEqual([candidates["part"], partials["part"]], ["candidates", "partials"])
        self.assertEqual(candidates["bytes_per_exchange"], 2 * HEADS * 2 * 8)
        self.assertEqual(partials["bytes_per_exchange"], HEADS * 1 * 66 * 4)
        for result in (candidates, partials):
            self.assertEqual(result["repeats"], 30)
            self.assertEqual(result["bytes_per_token"], SPARSE * result["bytes_per_exchange"])
            self.assertAlmostEqual(result["seconds_per_token"] / result["seconds_per_exchange"], SPARSE)
        done = self.run_ranks(2, "bench", "exchange", "--model", TINY, "--context", 1000, "--repeats", 1, "--read-memory", 3,
                              "--threads", 2)
        self.assertEqual([json.loads(line)["threads"] for line in done.stdout.splitlines()], [2, 2], done.stderr)
        self.assertEqual(self.bench_on_ranks(3, "exchange", "--context", 1000, "--repeats", 1)[0]["bytes_per_exchange"],
                         3 * 2 * HEADS * 2 * 8)

    def test_an_exchange_needs_shards_and_a_choice(self):
        self.assert_reported_once(self.run_ranks(2, "bench", "exchange", "--model", TINY, "--stages", 2),
                                  "--stages, --shards: .*")
        self.assert_reported_once(self.run_ranks(2, "bench", "exchange", "--model", TINY, "--context", 100),
                                  "--context: .* no chunk .*")
        for args in (("--model", "preset:rwkv7-0.2b"), ("--model", TINY, "--attention", "none")):
            self.assert_reported_once(self.run_ranks(2, "bench", "exchange", *args), "--context: .* no chunk .* no block has attention.*")
        self.assert_reported_once(self.run_ranks(2, "bench", "exchange", "--model", TINY, "--attention", "reference"),
                                  "--attention reference: .*")

    def test_barriers(self):
        model = json.loads(self.output("inspect", "--model", TINY, "--json"))
        n_blocks = model["n_rwkv"] + model["n_sparse"]
        for threads in 1, 2, 3:
            [result] = map(json.loads, self.output("bench", "barriers", "--model", TINY, "--read-memory", 3, "--tokens", 10,
                                                   "--threads", threads, "--repeats", 3).splitlines())
            self.assertLessEqual(FIELDS, set(result))
            self.assertEqual((result["threads"], result["tokens"], result["repeats"]), (threads, 10, 3))
            self.assertEqual(result["jobs_per_token"], 6 * n_blocks + 1)
            self.assertAlmostEqual(result["jobs_per_token"] * result["seconds_per_job"] / result["seconds_per_token"], 1)
        done = self.run_ranks(2, "bench", "barriers", "--model", TINY, "--read-memory", 3, "--threads", 2)
        self.assertEqual((done.returncode, len(done.stdout.splitlines())), (0, 1), done.stderr)

    def test_a_signal_ends_it_between_two_results(self):
        for question, *options in (("prefill", "--context", "10,200000"), ("decode", "--context", "10,3000000"),
                                   ("mixed", "--context", "10,1000000", "--prompt-tokens", 512)):
            with self.subTest(question=question):
                process = self.start("bench", question, "--model", TINY, "--tokens", "1", "--read-memory", "1",
                                     *map(str, options), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
                self.assertEqual(json.loads(process.stdout.readline())["context"], 10)
                process.send_signal(signal.SIGINT)
                stdout, stderr = process.communicate(timeout=program.SECONDS)
                self.assertEqual((process.returncode, stdout, stderr), (130, b"", b""))

    def test_a_signal_ends_reading_beside_others(self):
        process = self.start("bench", "mixed", "--model", TINY, "--context", 10, "--tokens", 1, "--prompt-tokens", 300000,
                             "--trace", self.folder / "trace.json", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=program.SECONDS)
        self.assertEqual((process.returncode, stdout, stderr), (130, b"", b""))

    def test_refusals(self):
        model = ["--model", TINY]
        self.assert_refused(["bench", *model], "QUESTION")
        self.assert_refused(["bench", "speed", *model], "QUESTION", "prefill")
        self.assert_refused(["bench", "exchange", *model], "exchange", "shards")
        self.assert_refused(["bench", "decode", *model, "--context", 4 * 10**9], "--context", "GB")
        self.assert_refused(["bench", "mixed", *model, "--prompt-tokens", 4 * 10**9], "--prompt-tokens", "GB")
        self.assert_refused(["bench", "decode", *model, "--attention", "reference", "--streams", 2], "--streams")
        self.assert_refused(["bench", "mixed", *model, "--attention", "reference"], "--attention reference")
        for option, values in {"--context": ("0", "8K", "1,x"), "--tokens": ("0",), "--repeats": ("0",), "--read-memory": ("0",),
                               "--warmups": ("-1",), "--streams": ("0", "501"), "--prompt-tokens": ("511", "1e4"),
                               "--step-ms": ("0", "-1", "nan", "x")}.items():
            for value in values:
                with self.subTest(option=option, value=value):
                    self.assert_refused(["bench", "decode", *model, option, value], option)


if __name__ == "__main__":
    program.main()
