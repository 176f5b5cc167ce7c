#!/usr/bin/env python3
"""Checkpoints that hold more than the model uses: refused by name, or, where nothing depends on it, run as without."""
import json

import program
from checkpoint_files import Tensor, read_pth, safetensors
from program import CHECKPOINT

TOKENS = "10 20 30 40 50"


class Unused(program.ProgramTest):
    def setUp(self):
        super().setUp()
        self.tensors = read_pth(CHECKPOINT)

    def command(self, extra):
        model = self.file("m.safetensors", safetensors({**self.tensors, **extra}))
        return ["logits", "--model", model, "--tokens", self.file("tokens.txt", TOKENS), "--chunk-size", 64, "--hash"]

    def test_what_may_be_there_changes_nothing(self):
        expected = self.output(*self.command({}))
        block = {name.replace("blocks.3.", "blocks.4."): tensor for name, tensor in self.tensors.items()
                 if "blocks.3." in name}
        residual = {name.replace("blocks.1.", "blocks.0."): tensor for name, tensor in self.tensors.items()
                    if "blocks.1.att.v" in name and name[-1] in "012"}
        self.assertEqual((len(block) > 20, len(residual)), (True, 3))
        self.assertEqual(self.output(*self.command({**block, **residual})), expected)

    def test_what_is_not_used_is_named(self):
        for name, meaning in {"rwkv.blocks.0.ffn.s_emb.weight": "DeepEmbed",
                              "rwkv.blocks.1.att.key.lora_A": "LoRA",
                              "rwkv.blocks.2.att.time_state": "--state",
                              "moba.1.att.gate": "sparse blocks of another kind"}.items():
            command = self.command({name: Tensor("BF16", [64], bytes(128))})
            with self.subTest(name=name):
                named = name.removeprefix("rwkv.")
                self.assert_refused(command, "m.safetensors", f"tensor {named} ", meaning)
                self.assert_refused(["plan", "--model", command[2], "--context", 10], f"tensor {named} ", meaning)
                listing = json.loads(self.output("inspect", "--model", command[2], "--json"))
                self.assertEqual(listing["groups"][-1]["kind"], "never used")
                self.assertEqual([tensor["name"] for tensor in listing["groups"][-1]["tensors"]], [named])


if __name__ == "__main__":
    program.main()
