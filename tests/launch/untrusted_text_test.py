#!/usr/bin/env python3
"""JSON and texts from outside that are not as they must be: one sentence that names the file, exit code 2."""
import json
import os
import re
import shutil

import program
from program import CHECKPOINT, MODEL

DEEP = "[" * 200_000 + "]" * 200_000
PASSKEY = ["--lengths", 512, "--depths", 1, "--samples", 1, "--seed", 1, "--threads", 1]


def name_of(text):
    """The bytes of a name in JSON."""
    return re.sub(rb"\\x([0-9a-f]{2})", lambda found: bytes([int(found[1], 16)]), text.encode())


class UntrustedText(program.ProgramTest):
    def setUp(self):
        super().setUp()
        self.model = self.folder / "model"
        self.model.mkdir()
        shutil.copy(CHECKPOINT, self.model)
        self.config = self.model / "config.json"

    def passkey(self, out, *, model=MODEL):
        return ["eval", "passkey", "--model", model, *PASSKEY, "--out", out]

    def test_config(self):
        for content in (*('{"%s": %s}' % (key, value) for key in ("moba_topk", "moba_chunk_size", "vocab_size", "eos_token_id")
                          for value in (DEEP, "-1", "1.5", "1e999", "1e30", "18446744073709551616", "18446744073709551615", '"3"', "[3]")),
                        '{"moba_topk": 3, "moba_topk": 4}', '{"moba_topk": 3} {}', '{"moba_topk": 3}\0, "moba_chunk_size": 64}',
                        '{"x": {"y": 1, "y": 1}}', '{"tokenizer": 7}', '{"tokenizer": "bytes\\u0000"}', '{"x": "', "", "[]", "\0",
                        '{"x": ' * 100_000, b'{"x": "\xff"}', b'\xff\xfe{\0}\0', b"{}\xef\xbb\xbf"):
            with self.subTest(content=content[:40]):
                self.config.write_bytes(content if isinstance(content, bytes) else content.encode())
                self.assert_refused(["inspect", "--model", self.model], str(self.config))
        self.config.write_bytes(b'\xef\xbb\xbf{"moba_topk": 7}\r\n')
        self.assertIn(b"top-k 7", self.output("inspect", "--model", self.model))

    def test_large_files(self):
        """Sparse ones: what is too large is not read."""
        self.config.write_text("{}")
        large = self.file("large.jsonl", "")
        for path, command in ((self.config, ["inspect", "--model", self.model]),
                              (large, ["logits", "--model", MODEL, "--tokens", large]),
                              (large, ["eval", "jsonl", "--model", MODEL, "--input", large, "--out", self.folder / "r"])):
            os.truncate(path, 1 << 40)
            self.assert_refused(command, str(path), "bytes")

    def test_token_list(self):
        for content in ("[1,2,3]\0,4,5]", "[1,2", DEEP, "[1e999]", "[1.0]", "[-1]", "[18446744073709551616]", "[1] [2]", "1 2 \0 3"):
            tokens = self.file("tokens", content)
            with self.subTest(content=content[:40]):
                self.assert_refused(["logits", "--model", MODEL, "--tokens", tokens, "--hash"], str(tokens))

    def test_questions_and_texts(self):
        for content in ('{"input":"The grass is","outputs":["green"]}\0{"input":"The sky is","outputs":["blue"]}\n',
                        '{"input":"a","outputs":%s}\n' % DEEP, '{"input":"a","outputs":["b"],"x":%s}\n' % DEEP,
                        '{"input":"a","outputs":["b"],"outputs":["c"]}\n', '{"input":"a","outputs":["b"],"x":1e999}\n'):
            questions = self.file("q.jsonl", '{"input":"The grass is","outputs":["green"]}\n' + content)
            with self.subTest(content=content[:40]):
                self.assert_refused(["eval", "jsonl", "--model", MODEL, "--input", questions, "--out", self.folder / "r"],
                                    f"{questions} line 2")
        texts = self.file("t.jsonl", '{"text":"a","x":%s}\n' % DEEP)
        self.assert_refused(["eval", "loss", "--model", MODEL, "--texts", texts, "--lengths", 4, "--out", self.folder / "r"],
                            f"{texts} line 1")

    def test_results_that_a_run_goes_on_with(self):
        results = self.folder / "r.jsonl"
        self.output(*self.passkey(results))
        line = results.read_text()
        for old, new in (('"settings":{', '"settings":{"x":%s,' % DEEP), ('"settings":{', '"settings":{"model":"x",'),
                         ('"question":0', '"question":1e30'), ('"score":', '"score":1e999,"x":'), ("{", "\0{"), ("}\n", "}\0x\n")):
            results.write_text(line.replace(old, new, 1) if new != "}\0x\n" else line.removesuffix(old) + new)
            with self.subTest(new=new[:40]):
                self.assert_refused(self.passkey(results), f"{results} line 1")
        results.write_text(line)
        self.output(*self.passkey(results))

    def test_names_are_bytes(self):
        name = os.fsdecode(b"caf\xe9\\x \xff")
        model = self.folder / name
        model.mkdir()
        checkpoint = model / f"{name}.pth"
        shutil.copy(CHECKPOINT, checkpoint)
        shutil.copy(MODEL / "config.json", model)
        vocabulary = self.file(f"{name}.txt", "".join(f"{i} b'\\x{i:02x}' 1\n" for i in range(1, 256)))
        command = [*self.passkey(self.folder / "r.jsonl", model=model), "--tokenizer", vocabulary, "--svg",
                   self.folder / "r.svg"]
        for _ in range(2):  # the second goes on with what the first left
            self.output(*command)
        settings = json.loads((self.folder / "r.jsonl").read_text())["settings"]
        self.assertEqual(name_of(settings["model"]), os.fsencode(checkpoint.name))
        self.assertEqual(name_of(settings["tokenizer"]), os.fsencode(vocabulary.name))
        self.assertIn(settings["model"], (self.folder / "r.svg").read_text())
        listing = json.loads(self.output("inspect", "--model", model, "--json"))
        self.assertEqual(name_of(listing["path"]), os.fsencode(checkpoint))
        bench = json.loads(self.output("bench", "decode", "--model", model, "--context", 64, "--tokens", 2, "--repeats", 1,
                                       "--threads", 1, "--read-memory", 1))
        self.assertEqual(name_of(bench["preset"]), os.fsencode(checkpoint))
        other = model / os.fsdecode(b"caf\xe8\\x \xff.pth")
        checkpoint.rename(other)
        self.assert_refused(command, "holds results with model")


if __name__ == "__main__":
    program.main()
