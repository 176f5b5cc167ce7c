#!/usr/bin/env python3
"""The command tokenize: ids of a text, and exactly the same bytes back."""
import random

import program
from program import MODEL

# Every single byte, as a World vocabulary has them, and a few longer tokens, one with both quotes' escape.
VOCABULARY = "".join(f"{i + 1} {bytes([i])!r} 1\n" for i in range(256)) + (
    "257 'the' 3\n"
    "258 ' the' 4\n"
    "259 'é' 2\n"
    "260 b'\\xf0\\x9f' 2\n"
    "261 \"it's\" 4\n")


class Tokenize(program.ProgramTest):
    def setUp(self):
        super().setUp()
        self.vocabulary = self.file("rwkv_vocab_small.txt", VOCABULARY)

    def encode(self, text, *args):
        return self.output("tokenize", *args, stdin=text).decode()

    def test_bytes(self):
        self.assertEqual(self.encode(b"Hi \xff", "--tokenizer", "bytes"), "72 105 32 255\n")
        self.assertEqual(self.encode(b"Hi", "--model", MODEL), "72 105\n")
        self.assertEqual(self.encode(b"", "--tokenizer", "bytes"), "\n")

    def test_longest_match(self):
        self.assertEqual(self.encode(b"the the it's", "--tokenizer", self.vocabulary), "257 258 33 261\n")

    def test_all_ways_to_give_the_text(self):
        expected = "105 116 10\n"
        self.assertEqual(self.encode(b"it\n", "--tokenizer", "bytes"), expected)
        self.assertEqual(self.output("tokenize", "--tokenizer", "bytes", "--text", "it\n").decode(), expected)
        self.assertEqual(
            self.output("tokenize", "--tokenizer", "bytes", "--file", self.file("text", b"it\n")).decode(), expected)

    def test_there_and_back(self):
        seed = random.SystemRandom().getrandbits(32)
        source = random.Random(seed)
        texts = [b"", "the café it's \N{GRINNING FACE}\n\n".encode(), bytes(range(1, 256)),
                 bytes(source.randrange(1, 256) for _ in range(5000))]
        for text in texts:
            for tokenizer in ("bytes", self.vocabulary):
                with self.subTest(seed=seed, n_bytes=len(text), tokenizer=tokenizer):
                    ids = self.encode(text, "--tokenizer", tokenizer)
                    self.assertEqual(
                        self.output("tokenize", "--tokenizer", tokenizer, "--decode", stdin=ids.encode()), text)

    def test_decode_takes_every_form_of_token_list(self):
        for ids in (b"72 105", b"[72, 105]", b"72,105\n"):
            with self.subTest(ids=ids):
                self.assertEqual(self.output("tokenize", "--tokenizer", "bytes", "--decode", stdin=ids), b"Hi")

    def test_refusals(self):
        decode = ["tokenize", "--tokenizer", "bytes", "--decode"]
        self.assert_refused(decode, "256", stdin=b"72 256")
        self.assert_refused(decode, "standard input", "x", stdin=b"72 x")
        self.assert_refused([*decode, "--file", self.file("ids", b"-1")], "ids", "-1")
        broken = self.file("broken.txt", "1 'a' 2\n")
        self.assert_refused(["tokenize", "--tokenizer", broken], "broken.txt")


if __name__ == "__main__":
    program.main()
