#!/usr/bin/env python3
"""generate --prompts: every prompt gets what it gets alone, on any grid and with any replicas; stopped runs go on."""
import hashlib
import json
import os
import random
import signal
import time

import job
import program
from program import MODEL

# What depends on where and when a run takes place.
VARYING = ("seconds", "cached_tokens")


class Prompts(job.JobTest):
    def setUp(self):
        super().setUp()
        self.out = self.folder / "results.jsonl"

    def prompts(self, lines):
        return self.file("prompts.jsonl", "".join(line if isinstance(line, str) else json.dumps(line) + "\n"
                                                  for line in lines))

    def many(self, n=24):
        """Prompts of many lengths and options."""
        source = random.Random(1)
        words = "the grass is green sky blue sun yellow here we go there and back again".split()
        lines = []
        for i in range(n):
            text = " ".join(source.choice(words) for _ in range(source.choice((2, 5, 20, 90))))
            line = {"id": f"p{i}", "prompt": "The grass is green. " * (i % 3) + text}
            if i % 4 == 1:
                line["temperature"] = 0
            if i % 4 == 2:
                line |= {"n": 3 + i, "seed": i, "stop": ["zz", " back"]}
            if i % 4 == 3:
                line["stop"] = None
            if i % 6 == 3:
                line["logprobs"] = 2
            lines.append(line)
        return lines

    def arguments(self, prompts, *args, out=None):
        options = {"-n": 12, "--seed": 7, "--threads": 1, **dict(zip(args[::2], args[1::2]))}
        return ["generate", "--model", MODEL, "--prompts", prompts, "--out", out or self.out,
                *(word for option in options.items() for word in option)]

    def results(self, out=None):
        found = [json.loads(line) for line in (out or self.out).read_text().splitlines()]
        return [{key: value for key, value in line.items() if key not in VARYING} for line in found]

    def continued(self, prompts, *args):
        self.output(*self.arguments(prompts, *args))
        return self.results()

    def test_each_gets_what_it_gets_alone(self):
        lines = self.many(8)
        for line, result in zip(lines, self.continued(self.prompts(lines))):
            self.assertEqual(result["id"], line["id"])
            options = ["-n", line.get("n", 12), "--seed", line.get("seed", 7 + result["line"])]
            for stop in line.get("stop") or ():
                options += ["--stop", stop]
            if "temperature" in line:
                options += ["--temperature", line["temperature"]]
            done = self.run_program("generate", "--model", MODEL, "--prompt", line["prompt"], *options)
            self.assertEqual(done.stdout.decode(), result["text"])
            self.assertIn(f"logits {result['logits_sha256'][:16]}", done.stderr.decode())

    def test_grids_and_replicas_change_nothing(self):
        prompts = self.prompts(self.many())
        expected = self.continued(prompts)
        self.assertEqual([result["line"] for result in expected], list(range(1, 25)))
        for n_ranks, *args in ((1, "--parallel", 1), (1, "--parallel", 3, "--step-ms", 0.5), (2, "--replicas", 2),
                               (2, "--stages", 2), (4, "--replicas", 2, "--shards", 2)):
            with self.subTest(ranks=n_ranks, args=args):
                self.out.unlink()
                done = self.run_ranks(n_ranks, *self.arguments(prompts, *args))
                self.assertEqual(done.returncode, 0, done.stderr)
                self.assertEqual(self.results(), expected)

    def test_tokens_in_place_of_text(self):
        text, tokens = self.continued(self.prompts([{"prompt": "The grass", "seed": 3},
                                                    {"tokens": list(b"The grass"), "seed": 3}]))
        for key in ("text", "tokens", "logits_sha256", "finish_reason", "prompt_tokens"):
            self.assertEqual(text[key], tokens[key])
        self.assertEqual((text["id"], tokens["id"]), (1, 2))

    def test_logprobs(self):
        result = self.continued(self.prompts([{"prompt": "The grass is", "temperature": 0, "logprobs": 3}]))[0]
        self.assertEqual(len(result["logprobs"]), len(result["tokens"]))
        for token, found in zip(result["tokens"], result["logprobs"]):
            self.assertEqual((found["token"], len(found["top"])), (token, 3))
            self.assertEqual({"token": token, "logprob": found["logprob"]}, found["top"][0])  # greedy
            self.assertLessEqual(found["logprob"], 0)

    def test_lines_that_fail_say_why(self):
        lines = [{"id": "good", "prompt": "The grass"}, "{\"prompt\": \n", {"id": 3}, {"prompt": ""},
                 {"prompt": "a", "temperature": -1}, {"prompt": "a", "n": 0}, {"tokens": [1, 999999]},
                 {"prompt": "a", "tokens": [1]}, {"prompt": 5}, "[1]\n", {"prompt": "a", "stop": [""]},
                 {"prompt": "a", "seed": -1}, {"prompt": "a", "logprobs": 1.5}, "\n", {"prompt": "The sky"}]
        done = self.run_program(*self.arguments(self.prompts(lines)))
        self.assertEqual(done.returncode, 2)
        self.assertIn("12 of 14 prompts failed", done.stderr.decode().splitlines()[-1])
        results = {result["line"]: result for result in self.results()}
        self.assertEqual(len(results), 14)
        for line in (1, 15):
            self.assertNotIn("error", results.pop(line))
        for line, part in ((2, "byte"), (3, "neither"), (4, "empty"), (5, "temperature"), (6, '"n"'), (7, "999999"),
                           (8, "both"), (9, "a text"), (10, "JSON object"), (11, "stop"), (12, "seed"),
                           (13, "logprobs")):
            self.assertIn(part, results[line]["error"])
            self.assertNotIn("text", results[line])

    def test_a_stopped_run_goes_on_with_other_replicas(self):
        prompts = self.prompts(self.many(300))
        expected = self.continued(prompts)
        self.out.unlink()
        for n_ranks, replicas, how in ((1, 1, signal.SIGINT), (2, 2, signal.SIGKILL), (2, 1, signal.SIGTERM)):
            before = self.out.read_bytes().count(b"\n") if self.out.exists() else 0
            running = self.start_job("-n", n_ranks, program.PROGRAM,
                                     *self.arguments(prompts, "--replicas", replicas, "--parallel", 4))
            end = time.monotonic() + program.SECONDS
            while not (self.out.exists() and self.out.read_bytes().count(b"\n") > before + 5):
                self.assertTrue(time.monotonic() < end and running.poll() is None, "no results came")
                time.sleep(0.005)
            ranks = job.ranks_of(running.pid)
            for rank, pid in ranks.items():
                if rank == 0 or how == signal.SIGKILL:
                    os.kill(pid, how)
            running.communicate(timeout=program.SECONDS)
            self.assertLess(before, self.out.read_bytes().count(b"\n"))
        with self.out.open("ab") as file:  # as a machine that went down leaves it
            file.write(b'{"line":29')
        done = self.run_ranks(2, *self.arguments(prompts, "--replicas", 2))
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(self.results(), expected)
        digest = hashlib.sha256(self.out.read_bytes()).hexdigest()
        self.output(*self.arguments(prompts))  # has nothing to do
        self.assertEqual(hashlib.sha256(self.out.read_bytes()).hexdigest(), digest)

    def test_results_of_something_else_are_refused(self):
        prompts = self.prompts([{"prompt": "The grass"}, {"prompt": "The sky"}])
        self.continued(prompts)
        for args in (("-n", 5), ("--seed", 8), ("--attention", "full"), ("--top-p", 0.5)):
            self.assert_refused(self.arguments(prompts, *args), str(self.out), "another --out")
        self.prompts([{"prompt": "The grass"}, {"prompt": "The sea"}])
        self.assert_refused(self.arguments(prompts), str(self.out) + " line 2", "another --out")
        self.out.write_text("something else\n")
        self.assert_refused(self.arguments(prompts), str(self.out))
        self.assertEqual(self.out.read_text(), "something else\n")
        # Prompts may be added.
        self.out.unlink()
        self.prompts([{"prompt": "The grass"}])
        first = self.continued(prompts)
        self.prompts([{"prompt": "The grass"}, {"prompt": "The sky"}])
        self.assertEqual(self.continued(prompts)[0], first[0])

    def test_replicas_cannot_share_a_pipe(self):
        pipe = self.folder / "pipe"
        os.mkfifo(pipe)
        done = self.run_ranks(2, *self.arguments(pipe, "--replicas", 2))
        self.assert_reported_once(done, "--prompts: .*plain file.*")

    def test_bad_options(self):
        prompts = self.prompts([{"prompt": "The grass"}])
        generate = ["generate", "--model", MODEL]
        self.assert_refused([*generate, "--prompts", prompts], "--out")
        self.assert_refused([*generate, "--out", self.out], "--prompts")
        self.assert_refused([*generate, "--parallel", 2], "--prompts")
        self.assert_refused([*generate, "--prompts", prompts, "--out", self.out, "--prompt", "a"], "--prompt")
        self.assert_refused([*generate, "--prompts", prompts, "--out", prompts], "--out")
        self.assert_refused([*generate, "--prompts", self.folder / "none", "--out", self.out], "none")
        self.assert_refused(self.arguments(prompts, "--replicas", 2), "--replicas")
        self.assert_refused(self.arguments(self.file("empty", "\n")), "no prompts")
        self.assertFalse(self.out.exists())


if __name__ == "__main__":
    program.main()
