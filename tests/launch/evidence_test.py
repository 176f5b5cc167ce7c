#!/usr/bin/env python3
"""Evidence: the passages that an answer looked at, of generate and eval."""
import json
import os
import pathlib
import re
import subprocess

import job
import program
from evaluation import EvalTest
from program import MODEL

PROMPT, ANSWER = program.question()
SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "scripts/passkey-prompt"
LINE = re.compile(r'evidence: tokens (\d+) to (\d+), ([\d.]+) %: (".*")\n')


def passkey(size, depth, key=31415):
    return subprocess.run([SCRIPT, str(key), str(size), str(depth)], capture_output=True, check=True,
                          timeout=60).stdout


class Generate(job.JobTest):
    def command(self, *args, n=8):
        return ["generate", "--model", MODEL, "--temperature", 0, "-n", n, *args]

    def lines(self, *args, prompt=PROMPT, n=8):
        """The passages in a file, of a run that must succeed, and what it wrote beside them."""
        path = self.folder / "evidence.jsonl"
        done = self.run_program(*self.command("--evidence", path, *args, n=n), stdin=prompt)
        self.assertEqual(done.returncode, 0, done.stderr)
        return [json.loads(line) for line in path.read_text().splitlines()], done

    @staticmethod
    def statistics(done):
        return re.search(rb"logits ([0-9a-f]{16})\n", done.stderr)[1]

    def test_the_text_and_its_logits_are_those_without(self):
        plain = self.run_program(*self.command(), stdin=PROMPT)
        asked = self.run_program(*self.command("--evidence"), stdin=PROMPT)
        self.assertEqual(asked.stdout, plain.stdout)
        self.assertEqual(self.statistics(asked), self.statistics(plain))
        self.assertNotIn(b"evidence", plain.stderr)

    def test_people_read_passages_on_standard_error(self):
        done = self.run_program(*self.command("--evidence"), stdin=PROMPT)
        found = LINE.findall(done.stderr.decode())
        self.assertTrue(found)
        first, last, share, text = found[0]
        self.assertEqual(json.loads(text).encode(), PROMPT[int(first):int(last) + 1])
        self.assertGreater(float(share), 50)
        needle = PROMPT.index(b"pass key is" + ANSWER.rstrip(b"."))
        self.assertLess(int(first), needle + 60)
        self.assertGreater(int(last), needle)
        self.assertEqual([float(line[2]) for line in found], sorted((float(line[2]) for line in found), reverse=True))

    def test_the_passage_with_the_key_comes_first(self):
        for size in (1024, 4096, 16384):
            for depth in (0, 50, 90):
                with self.subTest(size=size, depth=depth):
                    prompt = passkey(size, depth)
                    passages, done = self.lines(prompt=prompt)
                    self.assertEqual(done.stdout.strip(b" \0\n."), b"31415")
                    begin = prompt.index(b"The pass key is 31415")
                    best = passages[0]
                    self.assertLess(best["first"], begin + 57)
                    self.assertGreater(best["first"] + best["tokens"], begin)
                    self.assertIn("31415", best["text"])
                    self.assertGreater(best["weight"], 0.5)
                    self.assertLessEqual(sum(p["weight"] for p in passages), 1)
                    for p in passages:
                        self.assertEqual(p["text"].encode(), prompt[p["first"]:p["first"] + p["tokens"]])

    def test_no_passage_holds_what_was_generated(self):
        passages, _ = self.lines("--ban-token", 0, n=200, prompt=b"The grass is green. " * 20)
        for p in passages:
            self.assertLessEqual(p["first"] + p["tokens"], 400)

    def test_positions_of_a_context_count_from_its_first_token(self):
        prompt = passkey(4096, 50)
        text, question = prompt.rsplit(b"\n", 1)
        whole, done = self.lines(prompt=prompt)
        context = self.folder / "text.ctx"
        self.output("read", "--model", MODEL, "--file", self.file("text", text + b"\n"), "--save", context,
                    "--states-every", 1024)
        for at in ([], ["--at", 4000]):
            asked = question if not at else prompt[4000:]
            passages, after = self.lines("--context", context, *at, prompt=asked)
            self.assertEqual(self.statistics(after), self.statistics(done))
            self.assertEqual(passages, whole)

    def test_grids_and_exchanges_find_the_same(self):
        prompt = self.file("prompt", passkey(4096, 37))
        alone = self.run_program(*self.command("--evidence", "--threads", 1, "--prompt-file", prompt))
        want = LINE.findall(alone.stderr.decode())
        self.assertTrue(want)
        for grid in ([1, 2], [2, 1], [2, 2]):
            for exchange in ("ship", "gather"):
                with self.subTest(grid=grid, exchange=exchange):
                    done = self.run_job("-n", grid[0] * grid[1], program.PROGRAM,
                                        *self.command("--evidence", "--prompt-file", prompt, "--threads", 1,
                                                      "--stages", grid[0], "--shards", grid[1],
                                                      "--exchange", exchange))
                    self.assertEqual(done.returncode, 0, done.stderr)
                    self.assertEqual(done.stdout, alone.stdout)
                    self.assertEqual(LINE.findall(done.stderr.decode()), want)

    def test_what_has_none_is_refused_in_a_sentence(self):
        for mode in ("reference", "none"):
            self.assert_refused(self.command("--evidence", "--attention", mode), "--evidence", mode, stdin=PROMPT)
        self.assert_refused(["generate", "--model", "preset:rwkv7-0.2b", "--tokenizer", "bytes", "--evidence",
                             "--prompt", "a"], "--evidence", "sparse")
        self.assert_refused(self.command("--evidence", "--prompts", "a", "--out", "b"), "--evidence")
        self.assert_refused(self.command("--evidence", self.folder / "no" / "file"), "no/file", stdin=PROMPT)
        self.assert_refused(self.command("--evidence", MODEL / "rwkv-x-tiny.pth"), "--evidence", stdin=PROMPT)

    def test_a_short_prompt_has_none(self):
        done = self.run_program(*self.command("--evidence"), stdin=b"a")
        self.assertIn(b"evidence: none\n", done.stderr)


class Eval(EvalTest):
    ARGS = ("--lengths", "700,2000", "--depths", 4, "--samples", 1, "--seed", 2)

    def test_the_needle_is_in_the_first_passage(self):
        text = self.output(*self.command(*self.ARGS, "--evidence")).decode()
        results = self.results()
        self.assertEqual([r["needle_passage"] for r in results], [1] * 8)
        self.assertEqual(results[0]["settings"]["evidence"], "needle")
        self.assertIn("evidence: needle in the first passage of 8 of 8 answers, in the first 3 of 8\n", text)

    def test_other_fields_are_those_without(self):
        self.evaluate(*self.ARGS, "--evidence")
        plain = self.folder / "plain.jsonl"
        self.evaluate(*self.ARGS, out=plain)
        for asked, other in zip(self.results(), self.results(plain)):
            self.assertNotIn("needle_passage", other)
            self.assertNotIn("evidence", other["settings"])
            for field in ("answer", "score", "logits_sha256", "prompt_tokens", "depth"):
                self.assertEqual(asked[field], other[field])

    def test_results_do_not_depend_on_what_runs_beside(self):
        self.evaluate(*self.ARGS, "--evidence", "--parallel", 1, "--threads", 1)
        other = self.folder / "other.jsonl"
        self.evaluate(*self.ARGS, "--evidence", "--parallel", 8, "--no-sharing", out=other)
        self.assertEqual(self.without_times(other), self.without_times())

    def test_a_run_goes_on_only_as_it_began(self):
        self.evaluate(*self.ARGS, "--evidence")
        whole = self.out.read_bytes()
        lines = whole.splitlines(keepends=True)
        self.out.write_bytes(b"".join(lines[:3]))
        self.assert_refused(self.command(*self.ARGS), self.out.name)
        self.out.write_bytes(b"".join(lines[:3]))
        self.evaluate(*self.ARGS, "--evidence")
        self.assertEqual([r["needle_passage"] for r in self.results()], [1] * 8)
        plain = self.folder / "plain.jsonl"
        self.evaluate(*self.ARGS, out=plain)
        self.assert_refused(self.command(*self.ARGS, "--evidence", out=plain), "evidence")

    def test_needles_of_ruler_are_looked_for_too(self):
        for task in ("niah_single_1", "niah_multikey_2"):
            results = self.evaluate("--lengths", 1500, "--depths", 2, "--samples", 1, "--new-tokens", 3, "--evidence",
                                    task=task)
            for result in results:
                self.assertIn("needle_passage", result)
            self.out.unlink()

    def test_options_that_do_not_go_together(self):
        self.assert_refused(self.command(*self.ARGS, "--evidence", "--selection-mass", self.folder / "m.csv"),
                            "--evidence")
        self.assert_refused(self.command(*self.ARGS, "--evidence", "--attention", "none"), "--evidence")
        self.assertFalse(os.path.exists(self.out))


if __name__ == "__main__":
    program.main()
