#!/usr/bin/env python3
"""--bos: the token that is put first in a text is one more token of it, once, and nowhere else."""
import json

import program
from program import MODEL
from server import ServerTest

TEXT = "The grass is green. The sky is blue. The sun is yellow. Here we go."
OPTIONS = ["-n", 8, "--temperature", 0, "--ban-token", 0, "--threads", 1]


class FirstToken(ServerTest):
    def setUp(self):
        super().setUp()
        self.ids = [0, *TEXT.encode()]  # the demo model's tokens are bytes
        self.lines = [{"tokens": self.ids}, {"tokens": self.ids[1:]}]
        self.with_it, self.without = self.results("tokens")
        self.assertNotEqual(self.with_it["logits_sha256"], self.without["logits_sha256"])

    def results(self, name, *options, lines=None):
        prompts = self.file(f"{name}.jsonl", "".join(json.dumps(line) + "\n" for line in lines or self.lines))
        out = self.folder / f"{name}.out"
        self.output("generate", "--model", MODEL, "--prompts", prompts, "--out", out, *OPTIONS, *options)
        return [json.loads(line) for line in out.read_text().splitlines()]

    def generate(self, *options):
        return self.output("generate", "--model", MODEL, *OPTIONS, *options).decode()

    def test_generate(self):
        self.assertEqual(self.generate("--prompt", TEXT, "--bos", 0), self.with_it["text"])
        self.assertEqual(self.generate("--prompt", TEXT, "--bos", "none"), self.without["text"])
        has_it = self.file("text", b"\0" + TEXT.encode())
        self.assertEqual(self.generate("--prompt-file", has_it, "--bos", 0), self.with_it["text"])
        self.assertEqual(self.generate("--prompt", TEXT), self.without["text"])
        found = self.results("texts", "--bos", 0, lines=[{"prompt": TEXT}, {"tokens": self.ids[1:]}])
        for result, expected in zip(found, (self.with_it, self.without)):
            self.assertEqual([result[name] for name in ("text", "logits_sha256", "prompt_tokens")],
                             [expected[name] for name in ("text", "logits_sha256", "prompt_tokens")])
        many = ["generate", "--model", MODEL, "--prompts", self.folder / "texts.jsonl", "--out", self.folder / "texts.out", *OPTIONS]
        self.assert_refused(many, "texts.out")
        for value in ("-1", "256", "x", ""):
            self.assert_refused(["generate", "--model", MODEL, "--prompt", "x", f"--bos={value}"], "--bos")

    def test_may_be_all_of_a_text(self):
        end = self.results("end", lines=[{"tokens": [0]}])[0]["text"]
        self.assertEqual(self.generate("--prompt", "", "--bos", 0), end)
        empty, context = self.file("empty", ""), self.folder / "end.ctx"
        self.output("read", "--model", MODEL, "--file", empty, "--save", context, "--bos", 0, "--threads", 1)
        self.assertEqual(self.generate("--context", context, "--prompt", "x"),
                         self.results("x", lines=[{"tokens": [0, ord("x")]}])[0]["text"])
        self.assert_refused(["generate", "--model", MODEL, "--prompt", ""], "empty")
        self.assert_refused(["generate", "--model", MODEL, "--context", context, "--prompt", "", "--bos", 0], "empty")
        self.assert_refused(["read", "--model", MODEL, "--file", empty, "--save", self.folder / "none.ctx"], "empty")

    def test_contexts_begin_with_it_once(self):
        context, text = self.folder / "c.ctx", self.file("text", TEXT[:40])
        self.output("read", "--model", MODEL, "--file", text, "--save", context, "--bos", 0, "--threads", 1)
        self.assertEqual(self.generate("--context", context, "--prompt", TEXT[40:], "--bos", 0), self.with_it["text"])
        self.assert_refused(["read", "--model", MODEL, "--file", text, "--save", context], str(context), "another text")

    def test_eval(self):
        out, plain = self.folder / "r.jsonl", self.folder / "p.jsonl"
        passkey = ["eval", "passkey", "--model", MODEL, "--lengths", 300, "--depths", 1, "--samples", 1, "--threads", 1]
        self.output(*passkey, "--out", out, "--bos", 0)
        self.output(*passkey, "--out", plain)
        result, expected = json.loads(out.read_text()), json.loads(plain.read_text())
        self.assertEqual((result["prompt_tokens"], result["length"]), (expected["prompt_tokens"] + 1, 300))
        self.assertNotEqual(result["logits_sha256"], expected["logits_sha256"])
        self.assertEqual(result["settings"]["bos"], 0)
        self.assert_refused([*passkey, "--out", plain, "--bos", 0], str(plain), "bos")
        # A loss is that of the same tokens, whether an option or the file puts the first one there.
        loss = ["eval", "loss", "--model", MODEL, "--lengths", 20, "--threads", 1]
        self.output(*loss, "--texts", self.file("text", TEXT[:21]), "--out", self.folder / "l.jsonl", "--bos", 46)
        self.output(*loss, "--texts", self.file("whole", "." + TEXT[:20]), "--out", self.folder / "w.jsonl")
        found, wanted = (json.loads((self.folder / name).read_text()) for name in ("l.jsonl", "w.jsonl"))
        self.assertEqual((found["score"], found["losses"], found["logits_sha256"]),
                         (wanted["score"], wanted["losses"], wanted["logits_sha256"]))

    def test_serve(self):
        server = self.serve("--bos", 0, "--contexts", self.folder / "contexts")
        fields = {"max_tokens": 8, "temperature": 0, "ignore_eos": True}

        def ask(prompt, **more):
            answer = server.complete(prompt, **fields, **more)
            return [choice["text"] for choice in answer["choices"]], answer["usage"]["prompt_tokens"]
        with_it, without = ([each["text"]] for each in (self.with_it, self.without))
        n = len(TEXT)
        self.assertEqual(ask(TEXT), (with_it, n + 1))
        self.assertEqual(ask("<|endoftext|>" + TEXT), (with_it, n + 1))
        self.assertEqual(ask(self.ids), (with_it, n + 1))
        self.assertEqual(ask(self.ids[1:]), (without, n))
        context = server.post("/v1/contexts", text=TEXT[:40])["id"]
        self.wait_until(lambda: server.ask("GET", f"/v1/contexts/{context}")[1]["status"] == "ready")
        self.assertEqual(ask(TEXT[40:], longreach={"context": context}), (with_it, n + 1))
        self.assertEqual(server.post("/tokenize", prompt="ab")["tokens"], [97, 98])
        chat = [{"role": "user", "content": "Hi"}]
        written = server.post("/v1/chat/completions", messages=chat, **fields)
        self.assertEqual(written["usage"]["prompt_tokens"], len("User: Hi\n\nAssistant:") + 1)


if __name__ == "__main__":
    program.main()
