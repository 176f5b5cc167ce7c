#!/usr/bin/env python3
"""Models of random weights, `--model preset:NAME`: every command takes them, from any folder."""
import json

import program

TINY = "preset:rwkv-x-tiny"
TOKENS = " ".join(str(7 * i % 256) for i in range(400))  # more than three chunks of 64


class Preset(program.ProgramTest):
    def hash(self, *args, **options):
        tokens = self.file("tokens.txt", TOKENS)
        return self.output("logits", "--model", TINY, "--tokens", tokens, "--hash", *args, **options)

    def test_logits_are_the_same_every_time_and_everywhere(self):
        expected = self.hash()
        (self.folder / "config.json").write_text('{"n_embd": 99, "moba_topk": 1}')  # of some other model
        for args in (("--threads", 2), ("--calls", "1*400"), ("--weights", "bf16")):
            self.assertEqual(self.hash(*args, cwd=self.folder), expected, args)
        self.assertNotEqual(self.hash("--attention", "full"), expected)

    def test_generate(self):
        self.output("generate", "--model", TINY, "--prompt", "Once", "-n", 5, "--ban-token", 0)

    def test_tokenize(self):
        self.assertEqual(self.output("tokenize", "--model", TINY, "--text", "hi"), b"104 105\n")

    def test_inspect_and_plan_of_a_large_one(self):
        listing = json.loads(self.output("inspect", "--model", "preset:rwkv-x-3.6b", "--json"))
        self.assertEqual(listing["path"], "preset:rwkv-x-3.6b")
        self.assertEqual((listing["n_rwkv"], listing["n_sparse"], listing["n_embd"]), (32, 8, 2560))
        plan = json.loads(self.output("plan", "--model", "preset:rwkv-x-3.6b", "--context", 1000000, "--ranks", 64,
                                      "--topology", "numa:2(memory=64GiB) core:8 pu:1", "--json"))
        self.assertEqual(plan["stages"] * plan["shards"], 64)

    def test_unknown_names(self):
        for command in (["inspect"], ["generate", "--prompt", "a"], ["plan", "--context", 1]):
            self.assert_refused([*command, "--model", "preset:gpt"], "preset:gpt", "rwkv-x-0.2b", "rwkv7-1.5b")


if __name__ == "__main__":
    program.main()
