#!/usr/bin/env python3
"""Ranks of one job that see unlike files under one name refuse before they compute anything."""
import json
import os
import shutil
import struct

import job
import program
from program import CHECKPOINT, MODEL

TOKENS = "10 20 30 40 50"
# The folder in which a rank runs is its own, so that relative names mean other files on each.
IN_OWN_FOLDER = 'cd "$0/$OMPI_COMM_WORLD_RANK" && exec "$@"'


def safetensors(source, value):
    """The tensors of a listing of `inspect --json`, all of one value: bf16, one header for all values."""
    header, offset = {}, 0
    for group in source["groups"]:
        for tensor in group["tensors"]:
            name = tensor["name"] if tensor["name"].startswith(("emb.", "ln_out.", "head.")) else (
                f"{group['name']}.{tensor['name']}")
            n_bytes = 2
            for extent in tensor["shape"]:
                n_bytes *= extent
            header[name] = {"dtype": "BF16", "shape": tensor["shape"], "data_offsets": [offset, offset + n_bytes]}
            offset += n_bytes
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + value * (offset // 2)


class UnlikeFiles(job.JobTest):
    """Each rank runs in a folder of its own: two copies of the demo model, and of what tests put there."""

    def setUp(self):
        super().setUp()
        for rank in "01":
            (self.folder / rank / "model").mkdir(parents=True)
            shutil.copy(CHECKPOINT, self.folder / rank / "model/m.pth")
            shutil.copy(MODEL / "config.json", self.folder / rank / "model")
            self.file(f"{rank}/tokens", TOKENS)
            self.file(f"{rank}/prompt", "The grass is")
            self.file(f"{rank}/bytes.txt", "".join(f"{i} b'\\x{i:02x}' 1\n" for i in range(1, 256)))
            self.file(f"{rank}/q.jsonl", 2 * '{"input": "The grass is", "outputs": ["green"]}\n')
        self.other = self.folder / "1"

    def run_apart(self, *words):
        return self.finish(self.start_job("-n", 2, "sh", "-c", IN_OWN_FOLDER, self.folder,
                                          os.path.abspath(program.PROGRAM), *words))

    def logits(self):
        return self.run_apart("logits", "--model", "model", "--tokens", "tokens", "--threads", 1, "--hash")

    def generate(self):
        return self.run_apart("generate", "--model", "model", "--tokenizer", "bytes.txt", "--prompt-file", "prompt",
                              "-n", 2, "--temperature", 0, "--threads", 1)

    def evaluate(self):
        return self.run_apart("eval", "jsonl", "--model", "model", "--tokenizer", "bytes.txt", "--input", "q.jsonl",
                              "--new-tokens", 2, "--replicas", 2, "--threads", 1, "--out", "r.jsonl")

    def change(self, name, at=-1):
        """Changes a byte of rank 1's copy."""
        path = self.other / name
        content = bytearray(path.read_bytes())
        content[at] ^= 1
        path.write_bytes(content)

    def assert_unlike(self, done, name):
        message = done.stderr.decode(errors="replace")
        self.assertEqual((done.returncode, done.stdout), (2, b""), message)
        self.assertRegex(message, rf"longreach: \S*{name}( and \S+)?: rank 0 on \S+ and rank 1 on \S+ see different contents\n")
        self.assertFalse((self.folder / "0/r.jsonl").exists())

    def test_copies_are_as_good_as_one_file(self):
        alone = self.output("logits", "--model", MODEL, "--tokens", self.folder / "0/tokens", "--hash")
        done = self.logits()
        self.assertEqual((done.returncode, done.stdout), (0, alone), done.stderr)
        for run in (self.generate, self.evaluate):
            done = run()
            self.assertEqual(done.returncode, 0, done.stderr)

    def test_checkpoint(self):
        content = CHECKPOINT.read_bytes()
        self.change("model/m.pth", at=len(content) // 2)  # in a tensor, whose checksum stays
        self.assert_unlike(self.logits(), "model/m.pth")

    def test_checkpoint_without_checksums(self):
        listing = json.loads(self.output("inspect", "--model", MODEL, "--json"))
        for rank, value in ("0", b"\0\0"), ("1", b"\0\x3c"):
            (self.folder / rank / "model/m.pth").unlink()
            self.file(f"{rank}/model/m.safetensors", safetensors(listing, value))
        self.assert_unlike(self.logits(), "model/m.safetensors")

    def test_parts_of_an_index(self):
        listing = json.loads(self.output("inspect", "--model", MODEL, "--json"))
        for rank in "01":
            (self.folder / rank / "model/m.pth").unlink()
            whole = safetensors(listing, b"\0\0")
            self.file(f"{rank}/model/m-1.safetensors", whole)
            names = json.loads(whole[8:8 + struct.unpack_from("<Q", whole)[0]])
            self.file(f"{rank}/model/m.safetensors.index.json",
                      json.dumps({"weight_map": dict.fromkeys(names, "m-1.safetensors")}))
        self.change("model/m-1.safetensors")
        self.assert_unlike(self.logits(), "m-1.safetensors")

    def test_config(self):
        config = self.other / "model/config.json"
        config.write_text(config.read_text() + " ")
        self.assert_unlike(self.logits(), "model/config.json")
        config.unlink()
        done = self.logits()
        self.assertEqual(done.returncode, 2)
        self.assertRegex(done.stderr, rb"model/config.json and \S+: rank 1 on \S+ has no such file, rank 0 on \S+ has one\n")

    def test_tokens(self):
        self.change("tokens")
        self.assert_unlike(self.logits(), "tokens")

    def test_prompt(self):
        self.change("prompt")
        self.assert_unlike(self.generate(), "prompt")

    def test_vocabulary(self):
        text = (self.other / "bytes.txt").read_text()
        self.file("1/bytes.txt", text.replace("65 b'\\x41'", "65 b'\\x42'", 1).replace("66 b'\\x42'", "66 b'\\x41'", 1))
        self.assert_unlike(self.generate(), "bytes.txt")
        self.assert_unlike(self.evaluate(), "bytes.txt")

    def test_questions(self):
        self.change("q.jsonl", at=20)
        self.assert_unlike(self.evaluate(), "q.jsonl")

    def test_what_only_the_leader_reads_may_be_absent_elsewhere(self):
        for name in ("bytes.txt", "prompt"):
            (self.other / name).unlink()
        done = self.generate()
        self.assertEqual(done.returncode, 0, done.stderr)


if __name__ == "__main__":
    program.main()
