#!/usr/bin/env python3
"""The command bench: what it prints fits together and is of the size that was asked for. Nothing is timed here."""
import json
import signal
import subprocess

import program

TINY = "preset:rwkv-x-tiny"
HEADS, SPARSE, CHUNK, TOP_K, CHANNELS = 2, 2, 64, 3, 128

FIELDS = {"question", "preset", "context", "weights", "kv", "isa", "ranks", "stages", "shards", "threads", "repeats",
          "seconds_per_token", "tokens_per_second", "spread", "bytes_per_token", "read_bandwidth",
          "share_of_bandwidth", "version", "machine"}


def attended_bytes(context, attention):
    """Bytes of the caches of all sparse blocks that decoding reads at the end of so many tokens."""
    closed, recent = divmod(context, CHUNK)
    if attention == "full":
        rows, scored = context, 0
    else:
        rows = min(TOP_K - 1, closed) * CHUNK + recent
        scored = closed if closed > TOP_K - 1 else 0
    return SPARSE * HEADS * 64 * 4 * (2 * rows + scored)


class Bench(program.ProgramTest):
    def bench(self, question, *args):
        """The lines as objects, each checked for what all have in common."""
        lines = self.output("bench", question, "--model", TINY, "--read-memory", 3, *args).decode().splitlines()
        results = [json.loads(line) for line in lines]
        for result in results:
            self.assertLessEqual(FIELDS, set(result))
            self.assertEqual((result["question"], result["preset"]), (question, "rwkv-x-tiny"))
            seconds = result["seconds_per_token"]
            self.assertGreater(seconds, 0)
            self.assertAlmostEqual(result["tokens_per_second"] * seconds, 1)
            least, most = result["least_seconds_per_token"], result["most_seconds_per_token"]
            self.assertLessEqual(least, seconds)
            self.assertLessEqual(seconds, most)
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
        # Bytes are told for the middle of the repeats that count: after 2 + 3 // 2 of 5 tokens each.
        results = self.bench("decode", "--context", "100,1000", "--tokens", 5, "--repeats", 3, "--warmups", 2,
                             "--threads", 2)
        self.assertEqual([result["context"] for result in results], [100, 1000])
        for result in results:
            self.assertEqual((result["repeats"], result["warmups"], result["tokens"], result["threads"]), (3, 2, 5, 2))
            self.assertEqual((result["weights"], result["kv"], result["attention"]), ("bf16", "f32", "moba"))
            self.assertEqual(result["ranks"], result["stages"] * result["shards"])
            self.assertEqual(result["bytes_per_token"], self.weight_bytes() + self.state_bytes() +
                             attended_bytes(result["context"] + 15, "moba"))

    def test_decode_with_full_attention(self):
        result, = self.bench("decode", "--context", 1000, "--tokens", 1, "--repeats", 1, "--attention", "full")
        self.assertEqual(result["attention"], "full")
        self.assertEqual(result["spread"], 0)
        self.assertEqual(result["bytes_per_token"],
                         self.weight_bytes() + self.state_bytes() + attended_bytes(1001, "full"))

    def test_prefill(self):
        short, long = self.bench("prefill", "--context", "100,16384", "--repeats", 1, "--warmups", 0)
        self.assertEqual(short["bytes_per_token"], self.weight_bytes() // 100)
        self.assertEqual(long["bytes_per_token"], self.weight_bytes() // 256)
        self.assertNotIn("tokens_per_second_by_eighths", short)
        eighths = long["tokens_per_second_by_eighths"]
        self.assertEqual(len(eighths), 8)
        self.assertAlmostEqual(sum(1 / speed for speed in eighths) / 8 / long["seconds_per_token"], 1, places=2)

    def test_a_signal_ends_it_between_two_results(self):
        for question, contexts in (("prefill", "10,200000"), ("decode", "10,3000000")):
            with self.subTest(question=question):
                process = self.start("bench", question, "--model", TINY, "--context", contexts, "--tokens", 1,
                                     "--read-memory", 1, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
                self.assertEqual(json.loads(process.stdout.readline())["context"], 10)
                process.send_signal(signal.SIGINT)
                stdout, stderr = process.communicate(timeout=program.SECONDS)
                self.assertEqual((process.returncode, stdout, stderr), (130, b"", b""))

    def test_refusals(self):
        model = ["--model", TINY]
        self.assert_refused(["bench", *model], "QUESTION")
        self.assert_refused(["bench", "speed", *model], "QUESTION", "prefill")
        self.assert_refused(["bench", "exchange", *model], "exchange", "shards")
        self.assert_refused(["bench", "decode", *model, "--context", 4 * 10**9], "--context", "GB")
        for option, values in {"--context": ("0", "8K", "1,x"), "--tokens": ("0",), "--repeats": ("0",), "--read-memory": ("0",),
                               "--warmups": ("-1",)}.items():
            for value in values:
                with self.subTest(option=option, value=value):
                    self.assert_refused(["bench", "decode", *model, option, value], option)


if __name__ == "__main__":
    program.main()
