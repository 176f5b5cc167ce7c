#!/usr/bin/env python3
"""The command inspect: the demo model's blocks, tensors and sizes, as text and as JSON."""
import json

import program
from program import CHECKPOINT, MODEL

PARAMETERS = 1379456  # as the demo model's config.json tells


class Inspect(program.ProgramTest):
    def setUp(self):
        super().setUp()
        self.listing = json.loads(self.output("inspect", "--model", MODEL, "--json"))

    def test_sizes(self):
        self.assertEqual(self.listing["parameters"], PARAMETERS)
        self.assertEqual(self.listing["bytes"], 2 * PARAMETERS)
        self.assertEqual((self.listing["n_rwkv"], self.listing["n_sparse"]), (4, 2))
        self.assertEqual((self.listing["chunk_size"], self.listing["top_k"]), (64, 3))
        self.assertEqual((self.listing["vocab_size"], self.listing["n_embd"]), (256, 128))
        self.assertEqual((self.listing["tokenizer"], self.listing["dtype"]), ("bytes", "bf16"))

    def test_blocks_come_in_execution_order(self):
        self.assertEqual([group["name"] for group in self.listing["groups"]],
                         ["input", "blocks.0", "blocks.1", "moba.0", "blocks.2", "blocks.3", "moba.1", "output"])

    def test_groups_hold_every_tensor_once(self):
        tensors = [tensor for group in self.listing["groups"] for tensor in group["tensors"]]
        self.assertEqual(len(tensors), self.listing["tensors"])
        for group in self.listing["groups"]:
            self.assertEqual(sum(tensor["bytes"] for tensor in group["tensors"]), group["bytes"])
        self.assertEqual(sum(group["parameters"] for group in self.listing["groups"]), PARAMETERS)

    def test_a_tensor(self):
        first = self.listing["groups"][1]
        self.assertIn({"name": "att.w1", "dtype": "bf16", "shape": [128, 32], "bytes": 8192}, first["tensors"])
        self.assertIn({"name": "att.x_r", "dtype": "bf16", "shape": [1, 1, 128], "bytes": 256}, first["tensors"])

    def test_text_tells_the_same(self):
        text = self.output("inspect", "--model", CHECKPOINT).decode()
        self.assertIn("family native", text)
        self.assertIn("1,379,456 parameters", text)
        self.assertLess(text.index("\nblocks.1 "), text.index("\nmoba.0 "))
        self.assertLess(text.index("\nmoba.0 "), text.index("\nblocks.2 "))


if __name__ == "__main__":
    program.main()
