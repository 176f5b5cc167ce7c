#!/usr/bin/env python3
"""Damaged files end in one sentence and exit code 2, or do no harm at all; nothing crashes or hangs."""
import os
import random
import shutil

import program
from program import CHECKPOINT, MODEL

TOKENS = "10 20 30 40 50"
FLIPS = 60  # damaged copies per file


class Damage(program.ProgramTest):
    def setUp(self):
        super().setUp()
        self.model = self.folder / "model"
        self.model.mkdir()
        shutil.copy(MODEL / "config.json", self.model)
        shutil.copy(CHECKPOINT, self.model)
        self.checkpoint = self.model / CHECKPOINT.name
        self.tokens = self.file("tokens.txt", TOKENS)
        self.expected = self.output(*self.command())
        self.random = random.Random()  # failures tell the damage itself

    def command(self):
        return ["logits", "--model", self.model, "--tokens", self.tokens, "--hash"]

    def assert_refused_or_right(self):
        done = self.run_program(*self.command())
        if done.returncode == 0:
            self.assertEqual((done.stdout, done.stderr), (self.expected, b""))
        else:
            self.assert_one_sentence(done, str(self.model))

    def assert_refused_or_run(self):
        """For the config: a changed chunk size makes another model, not a damaged one."""
        done = self.run_program(*self.command())
        if done.returncode != 0:
            self.assert_one_sentence(done, str(self.model))

    def after_each_flip(self, path, n_bytes, check):
        """Calls check after each flip of one bit among the first n_bytes; failures tell which."""
        content = path.read_bytes()
        for _ in range(FLIPS):
            at, bit = self.random.randrange(min(n_bytes, len(content))), self.random.randrange(8)
            damaged = bytearray(content)
            damaged[at] ^= 1 << bit
            path.write_bytes(damaged)
            with self.subTest(file=path.name, byte=at, bit=bit):
                check()

    def test_truncated_checkpoint(self):
        content = CHECKPOINT.read_bytes()
        sizes = [0, 1, 3, 4, 30, 63, 64, 1000, len(content) // 2, len(content) - 23, len(content) - 22,
                 len(content) - 1, *(self.random.randrange(len(content)) for _ in range(20))]
        for size in sizes:
            with self.subTest(size=size):
                self.checkpoint.write_bytes(content[:size])
                self.assert_refused(self.command(), str(self.checkpoint))
                self.assert_refused(["inspect", "--model", self.checkpoint], str(self.checkpoint))

    def test_flipped_bits_anywhere(self):
        self.after_each_flip(self.checkpoint, CHECKPOINT.stat().st_size, self.assert_refused_or_right)

    def test_flipped_bits_where_the_pickle_lies(self):
        self.after_each_flip(self.checkpoint, 20000, self.assert_refused_or_right)

    def test_flipped_bits_in_the_config(self):
        path = self.model / "config.json"
        self.after_each_flip(path, path.stat().st_size, self.assert_refused_or_run)

    def test_files_of_other_kinds(self):
        for name, content in {"noise": self.random.randbytes(5000), "text": b"not a model\n" * 100,
                              "zeros": bytes(10000), "zip": b"PK\x05\x06" + bytes(18)}.items():
            with self.subTest(name=name):
                self.checkpoint.write_bytes(content)
                self.assert_refused(self.command(), str(self.checkpoint))

    def test_pipes_in_the_place_of_files(self):
        """Nobody writes to them: opening one to read would wait for ever."""
        context = self.folder / "text.ctx"
        read = ["read", "--model", MODEL, "--save", context]
        self.output(*read, stdin=b"The grass is green. " * 20)
        verify = ["context", "verify", context, "--model", MODEL]
        self.output(*verify)
        config = self.model / "config.json"
        commands = {path: verify for path in context.rglob("*") if path.is_file()} | {config: self.command()}
        self.assertGreater(len(commands), 4)
        commands[context / "lock"] = read
        for path, command in commands.items():
            with self.subTest(path=path.name):
                hidden = path.rename(self.folder / "hidden")
                os.mkfifo(path)
                self.assert_refused(command, f"{path}: expected a regular file", stdin=b"The")
                hidden.rename(path)


if __name__ == "__main__":
    program.main()
