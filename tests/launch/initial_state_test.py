#!/usr/bin/env python3
"""Initial states: the oracle's logits from either form of file, the same bits on any grid, and nothing shared with other states."""
import json
import math
import pathlib
import re
import struct

import checkpoint_files as files
import program
from checkpoint_files import Tensor
from logits_test import read_npy
from program import MODEL
from server import ServerTest

# 3 heads, sparse blocks, and a fifth RWKV-7 block that is never executed.
CASE = pathlib.Path(__file__).resolve().parents[1] / "golden/data/b/model.pth"
TOKENS = "10 20 30 40 50"
# The last token's first logits, by tests/golden/oracle.py with its states S set to those of `state` before the first token: as they
# are, transposed, and zeros.
RIGHT = [-1.374774, 0.40749, 0.655069, -0.375809, 0.507784, 1.256729, 0.506072, -0.622697]
TRANSPOSED = [0.440876, 0.029113, 0.376064, 0.588977, 0.254976, 1.059799, -0.597374, 0.837768]
ZEROS = [-0.570445, 0.128025, 0.614588, 0.573207, 0.918107, 1.011615, 0.021631, -0.563986]


def number(block, head, key, value):
    """One of few bits, so that every dtype holds it."""
    return ((37 * block + 11 * head + 3 * key + 5 * value * value + key * value) % 201 - 100) / 128


def state(n_blocks, n_heads, axes="value-key", dtype="F32"):
    def of(block, head, row, column):
        return number(block, head, row, column) if axes == "key-value" else number(block, head, column, row)
    tensors = {}
    for block in range(n_blocks):
        numbers = [of(block, head, row, column) for head in range(n_heads) for row in range(64) for column in range(64)]
        tensors[f"blocks.{block}.att.time_state"] = Tensor("F32", [n_heads, 64, 64], struct.pack(f"<{len(numbers)}f", *numbers))
    if dtype == "BF16":
        return {name: Tensor(dtype, each.shape, b"".join(each.data[at + 2:at + 4] for at in range(0, len(each.data), 4)))
                for name, each in tensors.items()}
    return {name: each.to(dtype) for name, each in tensors.items()}


class Logits(ServerTest):
    def setUp(self):
        super().setUp()
        self.command = ["logits", "--model", CASE, "--tokens", self.file("tokens", TOKENS), "--chunk-size", 8, "--top-k", 2,
                        "--threads", 1, "--hash"]

    def assert_logits(self, expected, *options):
        out = self.folder / "logits.npy"
        digest = self.output(*self.command, "--positions", 4, "--out", out, *options)
        for found, wanted in zip(struct.unpack("<8f", read_npy(out)[0][:32]), expected):
            self.assertAlmostEqual(found, wanted, delta=1e-4)
        return digest

    def test_those_of_the_oracle(self):
        self.assert_logits(ZEROS)
        digests = set()
        for name, content in {"f32.pth": files.pth(state(4, 3)), "bf16.pth": files.pth(state(4, 3, dtype="BF16")),
                              "five.pth": files.pth(state(5, 3)),
                              "f32.safetensors": files.safetensors(state(4, 3, "key-value")),
                              "f16.st": files.safetensors(state(4, 3, "key-value", "F16"))}.items():
            with self.subTest(name=name):
                file = self.file(name, content)
                digests.add(self.assert_logits(RIGHT, "--state", file))
                axes = "key-value" if name.endswith(".pth") else "value-key"
                self.assert_logits(TRANSPOSED, "--state", file, "--state-axes", axes)
        self.assertEqual(len(digests), 1)

    def test_any_grid_and_mode(self):
        options = ["--state", self.file("s.pth", files.pth(state(4, 3)))]
        for mode in ("moba", "full"):
            want = self.output(*self.command, *options, "--attention", mode)
            for stages, shards in ((2, 1), (1, 2), (2, 2)):
                done = self.run_ranks(stages * shards, *self.command, *options, "--attention", mode, "--stages", stages, "--shards", shards)
                with self.subTest(mode=mode, stages=stages, shards=shards):
                    self.assertEqual((done.returncode, done.stdout), (0, want), done.stderr)
        self.assert_logits(RIGHT, *options, "--attention", "reference")

    def test_what_fits_no_model(self):
        good = state(4, 3)
        small = Tensor("F32", [3, 32, 32], bytes(4 * 3 * 32 * 32))
        for tensors, part in (({**good, "blocks.0.att.time_offset": small}, "tensor blocks.0.att.time_offset is not one"),
                              ({**good, "blocks.0.ts_state": small}, "tensor blocks.0.ts_state is not one"),
                              (state(6, 3), "tensor blocks.5.att.time_state is not one"),
                              (state(3, 3), "tensor blocks.3.att.time_state is missing"),
                              (state(4, 2), "blocks.0.att.time_state: expected shape [3, 64, 64], found [2, 64, 64]"),
                              ({**good, "blocks.1.att.time_state": Tensor("F32", [3, 64, 64], struct.pack("<f", math.inf) * (3 * 64 * 64))},
                               "blocks.1.att.time_state: holds a number that is not finite"),
                              ({**good, "blocks.2.att.time_state": small}, "blocks.2.att.time_state: expected shape")):
            for write in (files.pth, files.safetensors):
                with self.subTest(part=part):
                    file = self.file("s", write(tensors))
                    self.assert_refused([*self.command, "--state", file], str(file), part)
        content = bytearray(files.pth(good))
        content[len(content) // 2] ^= 1
        damaged = self.file("s.pth", bytes(content))
        self.assert_refused([*self.command, "--state", damaged], str(damaged), "damaged")
        self.assert_refused([*self.command, "--state", CASE], str(CASE), "tensor")
        self.assert_refused([*self.command, "--state", self.folder / "none"], str(self.folder / "none"))
        self.assert_refused([*self.command, "--state", damaged, "--state-axes", "key"], "--state-axes")


class Texts(ServerTest):
    """Of the demo model, which has 4 RWKV-7 blocks of 2 heads."""

    def setUp(self):
        super().setUp()
        self.states = self.folder / "states"
        self.states.mkdir()
        self.first = self.states / "first.pth"
        self.first.write_bytes(files.pth(state(4, 2)))
        self.second = self.states / "second.st"
        self.second.write_bytes(files.safetensors(state(4, 2)))  # transposed

    def generate(self, prompt, *options):
        """The digits that the statistics know the logits by."""
        done = self.run_program("generate", "--model", MODEL, "--prompt", prompt, "-n", 12, "--temperature", 0, "--ban-token", 0,
                                "--threads", 1, *options)
        return re.search(r"logits ([0-9a-f]+)", done.stderr.decode())[1]

    def logprobs(self, prompt):
        """Those of the tokens that follow, by the name of the state."""
        prompts = self.file("prompts.jsonl", json.dumps({"prompt": prompt, "n": 12, "temperature": 0, "logprobs": 0}) + "\n")
        found = {}
        for name, options in {None: (), "first": ("--state", self.first), "second": ("--state", self.second)}.items():
            out = self.folder / f"{name}.jsonl"
            self.output("generate", "--model", MODEL, "--prompts", prompts, "--out", out, "--ban-token", 0, "--threads", 1, *options)
            found[name] = [each["logprob"] for each in json.loads(out.read_text())["logprobs"]]
        self.assertEqual(len(set(map(tuple, found.values()))), 3)
        return found

    def test_contexts_know_what_they_began_from(self):
        context = self.folder / "c.ctx"
        text = self.file("text", "The grass is green. " * 20)
        read = ["read", "--model", MODEL, "--file", text, "--save", context, "--threads", 1]
        self.output(*read, "--state", self.first)
        want = self.generate("The grass is green. " * 20 + "The", "--state", self.first)
        self.assertEqual(self.generate("The", "--context", context, "--state", self.first), want)
        self.assertNotEqual(self.generate("The grass is green. " * 20 + "The"), want)
        asks = ["generate", "--model", MODEL, "--context", context, "--prompt", "The"]
        for options in ((), ("--state", self.second)):
            self.assert_refused([*asks, *options], str(context), "initial_state")
            self.assert_refused([*read, *options], str(context), "initial_state")
        self.output("context", "verify", context, "--model", MODEL, "--state", self.first)
        self.assertIn(b"initial_state", self.output("context", "inspect", context))
        plain = self.folder / "plain.ctx"
        self.output("read", "--model", MODEL, "--file", text, "--save", plain, "--threads", 1)
        self.assertNotIn(b"initial_state", self.output("context", "inspect", plain))
        self.assert_refused(["generate", "--model", MODEL, "--context", plain, "--prompt", "The", "--state", self.first],
                            str(plain), "initial_state")

    def test_results_know_it(self):
        out = self.folder / "out.jsonl"
        prompts = self.file("prompts.jsonl", json.dumps({"prompt": "The sky is blue. ", "n": 3}) + "\n")
        many = ["generate", "--model", MODEL, "--prompts", prompts, "--out", out, "--threads", 1]
        self.output(*many, "--state", self.first)
        for options in ((), ("--state", self.second)):
            self.assert_refused([*many, *options], str(out))
        axes = ("--state-axes", "key-value")
        self.assert_refused(["generate", "--model", MODEL, "--prompt", "x", *axes], "--state-axes", "--state")
        self.assert_refused(["serve", "--model", MODEL, "--port", 0, *axes], "--state-axes", "--states")
        results = self.folder / "passkey.jsonl"
        evaluate = ["eval", "passkey", "--model", MODEL, "--lengths", 300, "--depths", 1, "--threads", 1, "--out", results]
        self.output(*evaluate, "--samples", 2, "--state", self.first)
        lines = results.read_text().splitlines()
        self.assertRegex(json.loads(lines[0])["settings"]["initial_state"], "^[0-9a-f]{16}$")
        results.write_text(lines[0] + "\n")
        self.assert_refused([*evaluate, "--samples", 2, "--state", self.second], str(results), "initial_state")
        self.assert_refused([*evaluate, "--samples", 2], str(results))
        self.output(*evaluate, "--samples", 2, "--state", self.first)

    def test_a_server_shares_nothing_between_states(self):
        prompt = "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again. "
        want = self.logprobs(prompt)
        contexts = self.folder / "contexts"
        server = self.serve("--states", self.states, "--contexts", contexts)
        content = self.first.read_bytes()
        self.first.write_bytes(b"")  # what was read at the start counts

        def ask(name, **fields):
            return server.complete(prompt, max_tokens=12, temperature=0, ignore_eos=True, logprobs=0, longreach={"state": name, **fields})
        for cached in (False, True):
            for name in (None, "first", "second"):
                with self.subTest(name=name, cached=cached):
                    answer = ask(name)
                    self.assertEqual(answer["choices"][0]["logprobs"]["token_logprobs"], want[name])
                    self.assertEqual(answer["usage"]["prompt_tokens_details"]["cached_tokens"] > 0, cached)
        for value, status, code in (("third", 404, "state_not_found"), (3, 400, None)):
            got, answer = server.ask("POST", "/v1/completions", {"prompt": prompt, "longreach": {"state": value}})
            self.assertEqual((got, answer["error"]["param"], answer["error"]["code"]), (status, "longreach", code))
        context = server.post("/v1/contexts", text=prompt)["id"]
        self.wait_until(lambda: server.ask("GET", f"/v1/contexts/{context}")[1]["status"] == "ready")
        got, answer = server.ask("POST", "/v1/completions", {"prompt": "x", "longreach": {"state": "first", "context": context}})
        self.assertEqual((got, answer["error"]["param"]), (400, "longreach"))
        # A server with another state does not know the context.
        self.first.write_bytes(content)
        other = self.serve("--state", self.first, "--contexts", contexts)
        self.assertEqual(other.ask("GET", "/v1/contexts")[1]["data"], [])
        answer = other.complete(prompt, max_tokens=12, temperature=0, ignore_eos=True, logprobs=0)
        self.assertEqual(answer["choices"][0]["logprobs"]["token_logprobs"], want["first"])
        got, answer = other.ask("POST", "/v1/completions", {"prompt": prompt, "longreach": {"state": "first"}})
        self.assertEqual((got, answer["error"]["param"]), (400, "longreach"))

    def test_folders_that_a_server_refuses(self):
        (self.states / "first.st").write_bytes(self.second.read_bytes())
        serve = ["serve", "--model", MODEL, "--port", 0, "--states"]
        self.assert_refused([*serve, self.states], str(self.states), "first.pth", "first.st")
        (self.states / "first.st").unlink()
        self.assert_refused([*serve, self.states, "--trace", self.first], "--trace", str(self.first))
        self.assert_refused([*serve, self.folder / "none"], "--states", str(self.folder / "none"))
        (self.folder / "empty").mkdir()
        self.assert_refused([*serve, self.folder / "empty"], "--states", str(self.folder / "empty"))


if __name__ == "__main__":
    program.main()
