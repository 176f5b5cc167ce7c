#!/usr/bin/env python3
"""The command eval: results of questions, and runs that are stopped in any way and go on."""
import csv
import json
import os
import shutil
import signal
import threading
import time
import xml.etree.ElementTree
import zipfile

import program
from evaluation import PASSKEY, EvalTest
from program import MODEL


class Results(EvalTest):
    def test_a_line_for_each_question(self):
        results = self.evaluate(*PASSKEY)
        places = [(r["length"], round(r["depth"]), r["sample"]) for r in results]
        self.assertEqual(places, [(length, depth, sample) for length in (300, 700) for depth in (0, 33, 67)
                                  for sample in (0, 1)])
        self.assertEqual([r["question"] for r in results], list(range(12)))
        for result in results:
            self.assertEqual(result["task"], "passkey")
            self.assertEqual(result["seed"], 4)
            self.assertEqual(result["answer"], result["expected"])  # the model was trained on these
            self.assertEqual(result["score"], 1)
            self.assertEqual(result["grid"], {"stages": 1, "shards": 1, "ranks": 1})
            self.assertRegex(result["logits_sha256"], r"\A[0-9a-f]{64}\Z")
            self.assertGreater(result["seconds"], 0)
            self.assertEqual(result["settings"], results[0]["settings"])
            self.assertEqual(result["fingerprint"], results[0]["fingerprint"])
        self.assertEqual(len({r["logits_sha256"] for r in results}), 12)
        self.assertEqual(results[0]["settings"]["attention"], "moba")

    def test_no_result_depends_on_threads_or_sharing_or_other_lengths(self):
        self.evaluate(*PASSKEY, "--threads", 1)
        for args in (["--threads", 2], ["--no-sharing"]):
            other = self.folder / f"{args[0]}.jsonl"
            self.evaluate(*PASSKEY, *args, out=other)
            self.assertEqual(self.without_times(other), self.without_times())
        other = self.folder / "one.jsonl"
        self.evaluate("--lengths", 700, *PASSKEY[2:], out=other)
        self.assertEqual([r["logits_sha256"] for r in self.results(other)],
                         [r["logits_sha256"] for r in self.results()[6:]])

    def test_needles_of_one_text_are_the_same_read_once_or_always(self):
        args = ["--lengths", 1500, "--depths", 3, "--samples", 2, "--new-tokens", 3]
        for task in ("niah_single_1", "niah_multikey_2", "niah_multikey_3"):
            shared, alone = self.folder / "shared.jsonl", self.folder / "alone.jsonl"
            self.evaluate(*args, task=task, out=shared)
            self.evaluate(*args, "--no-sharing", task=task, out=alone)
            self.assertEqual(self.without_times(shared), self.without_times(alone))
            shared.unlink()
            alone.unlink()

    def test_without_attention_the_keys_are_lost(self):
        results = self.evaluate("--lengths", 1024, "--depths", 3, "--samples", 1, "--attention", "none")
        self.assertEqual([r["score"] for r in results], [0, 0, 0])
        self.assertEqual(results[0]["settings"]["attention"], "none")

    def test_the_format_of_the_cache_is_among_the_settings(self):
        args = ["--lengths", 1024, "--depths", 2, "--samples", 1]
        self.evaluate(*args)
        other = self.folder / "int8.jsonl"
        results = self.evaluate(*args, "--kv", "int8", out=other)
        self.assertEqual([r["score"] for r in results], [1, 1])
        self.assertEqual([self.results(path)[0]["settings"]["kv"] for path in (None, other)], ["f32", "int8"])
        self.assert_refused(self.command(*args, "--kv", "bf16"), "kv")

    def test_reference_mode_reads_prompts_as_one_call(self):
        args = [*PASSKEY, "--attention", "reference", "--kv-max", 200, "--kv-min", 150, "--kv-window", 50]
        self.evaluate(*args)
        other = self.folder / "other.jsonl"
        self.evaluate(*args, "--no-sharing", out=other)
        self.assertEqual(self.without_times(other), self.without_times())

    def test_summary_and_pictures(self):
        table, picture = self.folder / "t.csv", self.folder / "p.svg"
        text = self.output(*self.command(*PASSKEY, "--csv", table, "--svg", picture)).decode()
        self.assertIn("passkey: mean score in percent, 12 questions\n", text)
        rows = list(csv.DictReader(table.read_text().splitlines()))
        self.assertEqual(len(rows), 6)
        self.assertEqual(rows[0], {"task": "passkey", "length": "300", "depth": "0", "questions": "2", "score": "1"})
        root = xml.etree.ElementTree.parse(picture).getroot()
        texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
        self.assertEqual(texts.count("100"), 6)

    def test_png_is_made_by_a_tool_or_refused_at_once(self):
        picture = self.folder / "p.png"
        command = self.command("--lengths", 300, "--depths", 1, "--samples", 1, "--png", picture)
        if shutil.which("rsvg-convert"):
            self.output(*command)
            self.assertTrue(picture.read_bytes().startswith(b"\x89PNG"))
            picture.unlink()
        self.assert_refused(command, "--png", "rsvg-convert", env={"PATH": "/nowhere"})
        self.assertFalse(picture.exists())

    def test_losses_by_position(self):
        text = self.file("text.txt", b"The grass is green. The sky is blue. " * 20)
        text2 = self.file("texts.jsonl", json.dumps({"text": "too short"}) + "\n" + json.dumps({"text": "abc " * 50}))
        args = ["--texts", text, "--texts", text2, "--lengths", "100,400", "--skip", 10]
        results = self.evaluate(*args, task="loss")
        self.assertEqual([(r["length"], r["prompt_tokens"]) for r in results], [(400, 401), (100, 101)])
        self.assertEqual([(part["from"], part["to"]) for part in results[0]["losses"]], [(0, 100), (100, 400)])
        losses = [part["loss"] for part in results[0]["losses"]]
        self.assertAlmostEqual(results[0]["score"], (100 * losses[0] + 300 * losses[1]) / 400)
        self.assertIsNone(results[0]["answer"])

    def test_questions_from_a_file(self):
        prompt, answer = program.question()
        key = answer.decode().strip(" .")
        file = self.question_file({"index": 0, "input": prompt.decode()[:-10], "answer_prefix": prompt.decode()[-10:],
                                   "outputs": [key, "nothing"], "length": 512, "other": [1]},
                                  {"input": prompt.decode(), "answer": answer.decode().strip()})
        results = self.evaluate("--input", file, "--new-tokens", 8, task="jsonl")
        self.assertEqual([r["score"] for r in results], [0.5, 1])
        self.assertEqual(results[0]["expected"], [key, "nothing"])
        self.assertEqual(results[0]["logits_sha256"], results[1]["logits_sha256"])
        self.out.unlink()
        results = self.evaluate("--input", file, "--new-tokens", 8, "--match", "exact", task="jsonl")
        self.assertEqual([r["score"] for r in results], [0, 1])


class StoppedRuns(EvalTest):
    LONG = ("--lengths", "2000", "--depths", "5", "--samples", "4")

    def start_run(self, n_lines):
        """A process that has just written n_lines of results."""
        n_before = self.n_lines()
        process = self.start(*self.command(*self.LONG), stdout=program.subprocess.DEVNULL,
                             stderr=program.subprocess.PIPE)
        end = time.monotonic() + program.SECONDS
        while time.monotonic() < end and process.poll() is None:
            if self.n_lines() >= n_before + n_lines:
                return process
            time.sleep(0.01)
        raise AssertionError(f"{n_lines} results never came")

    def n_lines(self):
        return self.out.read_bytes().count(b"\n") if self.out.exists() else 0

    def expected(self):
        whole = self.folder / "whole.jsonl"
        self.evaluate(*self.LONG, out=whole)
        return self.without_times(whole)

    def test_killed(self):
        for n_lines in (1, 3, 5):
            process = self.start_run(n_lines)
            process.kill()
            process.communicate(timeout=program.SECONDS)
        before = self.out.read_bytes()
        self.evaluate(*self.LONG)
        before = before[:before.rfind(b"\n") + 1].splitlines()  # as they came; in order when all are there
        self.assertLessEqual(set(before), set(self.out.read_bytes().splitlines()))
        self.assertEqual(self.without_times(), self.expected())

    def test_interrupted(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            process = self.start_run(2)
            process.send_signal(number)
            stderr = process.communicate(timeout=program.SECONDS)[1].decode()
            self.assertEqual(process.returncode, 128 + number, stderr)
            self.assertEqual(stderr, f"stopped after {self.n_lines()} of 20 questions; "
                                     "the same command goes on from there\n")
        self.evaluate(*self.LONG)
        self.assertEqual(self.without_times(), self.expected())

    def test_two_at_once_are_refused(self):
        process = self.start_run(1)
        process.send_signal(signal.SIGSTOP)
        self.assert_refused(self.command(*self.LONG), "r.jsonl", "another run")
        process.kill()

    def test_torn_lines(self):
        self.evaluate(*PASSKEY)
        whole = self.out.read_bytes()
        expected = self.without_times()
        for n_bytes in (len(whole) - 1, len(whole) // 2, 5, 0):
            self.out.write_bytes(whole[:n_bytes])
            self.evaluate(*PASSKEY)
            self.assertEqual(self.without_times(), expected)

    def test_a_finished_run_computes_nothing(self):
        self.evaluate(*PASSKEY)
        before = self.out.read_bytes()
        table = self.folder / "t.csv"
        first = self.output(*self.command(*PASSKEY))
        self.assertEqual(self.output(*self.command(*PASSKEY, "--csv", table)), first)
        self.assertEqual(self.out.read_bytes(), before)
        self.assertTrue(table.exists())

    def test_other_settings_are_refused(self):
        self.evaluate(*PASSKEY)
        self.out.write_bytes(b"".join(self.out.read_bytes().splitlines(True)[:5]))
        before = self.out.read_bytes()
        for args, name in ((["--weights", "f32"], "weights"), (["--activations", "bf16"], "activations"), (["--top-k", 2], "top_k"),
                           (["--attention", "full"], "attention"), (["--seed", 5], "seed"),
                           (["--samples", 3], "samples"), (["--lengths", "300"], "lengths"),
                           (["--depths", 4], "depths")):
            wanted = list(PASSKEY)
            if args[0] in wanted:
                del wanted[wanted.index(args[0]):wanted.index(args[0]) + 2]
            self.assert_refused(self.command(*wanted, *args), "r.jsonl", name, "--out")
            self.assertEqual(self.out.read_bytes(), before)
        self.assert_refused(self.command("--lengths", 3000, task="vt"), "r.jsonl", "passkey", "vt")
        for options, name in ((("--bos", 0), "bos"), (("--activations", "bf16"), "activations")):
            with self.subTest(unset=name):
                self.out.unlink()
                self.evaluate(*PASSKEY, *options)
                self.assert_refused(self.command(*PASSKEY), "r.jsonl", f"{name} ", "has none")

    def test_another_model_under_the_same_name_is_refused(self):
        self.evaluate(*PASSKEY)
        lines = self.out.read_bytes().splitlines(True)
        self.out.write_bytes(lines[0].replace(b'"model_fingerprint":"', b'"model_fingerprint":"0'))
        self.assert_refused(self.command(*PASSKEY), "r.jsonl", "model_fingerprint")


class OtherContents(EvalTest):
    """What changes answers is known by what it holds, wherever it lies and whatever it is called."""

    def setUp(self):
        super().setUp()
        self.model = self.folder / "model"
        self.model.mkdir()
        for path in (MODEL / "config.json", program.CHECKPOINT):
            shutil.copy(path, self.model)

    def ask(self, *args, task="jsonl"):
        return ["eval", task, "--model", self.model, *args, "--threads", 1, "--out", self.out]

    def test_questions(self):
        asked = {"input": "The grass is", "outputs": ["green"]}
        command = self.ask("--input", self.question_file(asked), "--new-tokens", 2)
        self.output(*command)
        before = self.out.read_bytes()
        for other in ({**asked, "input": "The grass was"}, {**asked, "outputs": ["red"]}):
            self.question_file(other)
            self.assert_refused(command, "r.jsonl", "questions", "--out")
        # The same from a pipe, which can be read once.
        (self.folder / "questions.jsonl").unlink()
        os.mkfifo(self.folder / "questions.jsonl")
        for content, is_same in ((asked, True), ({**asked, "input": "The sky is"}, False)):
            writer = threading.Thread(target=self.question_file, args=(content,), daemon=True)
            writer.start()
            if is_same:
                self.output(*command)
            else:
                self.assert_refused(command, "r.jsonl", "questions")
            writer.join(program.SECONDS)
        self.assertEqual(self.out.read_bytes(), before)

    def test_vocabulary(self):
        lines = [f"{i + 1} {bytes([i])!r} 1" for i in range(255)]
        vocabulary = self.file("vocabulary.txt", "\n".join(lines) + "\n")
        command = self.ask(*PASSKEY, "--tokenizer", vocabulary, task="passkey")
        self.output(*command)
        lines[250], lines[251] = f"251 {bytes([251])!r} 1", f"252 {bytes([250])!r} 1"  # no question has these bytes
        self.file("vocabulary.txt", "\n".join(lines) + "\n")
        self.assert_refused(command, "r.jsonl", "vocabulary", "--out")

    def test_end_token(self):
        command = self.ask(*PASSKEY, task="passkey")
        self.output(*command)
        config = json.loads((self.model / "config.json").read_text())
        (self.model / "config.json").write_text(json.dumps({**config, "eos_token_id": 10}))
        self.assert_refused(command, "r.jsonl", "end_token", "--out")

    def test_weights_that_few_tokens_do_not_show(self):
        command = self.ask(*PASSKEY, task="passkey")
        self.output(*command)
        results = self.out.read_bytes()
        path = self.model / program.CHECKPOINT.name
        with zipfile.ZipFile(program.CHECKPOINT) as archive:
            entries = [(entry.filename, archive.read(entry)) for entry in archive.infolist()]
        for changed, (name, content) in enumerate(entries):
            if "/data/" not in name:
                continue
            with zipfile.ZipFile(path, "w") as archive:
                for i, (other, bytes_) in enumerate(entries):
                    archive.writestr(other, bytes_[:-2] + b"\0\0" if i == changed else bytes_)
            self.assert_refused(command, "r.jsonl", "checkpoint", "--out")
            break
        self.out.write_bytes(results.splitlines(True)[0])
        self.assert_refused(command, "r.jsonl", "checkpoint")
        shutil.copy(program.CHECKPOINT, path)
        self.output(*command)


class Grids(EvalTest):
    def test_results_are_the_same_on_any_and_a_run_may_go_on_on_another(self):
        self.evaluate(*PASSKEY, "--threads", 1)
        other = self.folder / "other.jsonl"
        for n_lines, grid in ((4, (1, 3)), (9, (2, 1)), (12, (2, 2))):
            n_stages, n_shards = grid
            command = self.command(*PASSKEY, "--threads", 1, "--stages", n_stages, "--shards", n_shards, out=other)
            done = self.run_ranks(n_stages * n_shards, *command)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual(self.without_grid(other), self.without_grid(self.out))
            self.assertEqual(self.results(other)[-1]["grid"],
                             {"stages": n_stages, "shards": n_shards, "ranks": n_stages * n_shards})
            lines = other.read_bytes().splitlines(True)
            other.write_bytes(b"".join(lines[:n_lines]))

    def test_what_is_refused_is_reported_once(self):
        file = self.question_file("{}")
        self.assert_reported_once(self.run_ranks(3, *self.command("--input", file, task="jsonl")),
                                  ".*questions.jsonl line 1: .*")
        self.evaluate("--lengths", 300, "--depths", 1)
        self.assert_reported_once(self.run_ranks(2, *self.command("--lengths", 300, "--depths", 2)), ".*depths.*")


class SelectionMass(EvalTest):
    LENGTH = ("--lengths", "700", "--depths", "2", "--samples", "1", "--threads", 1)

    def setUp(self):
        super().setUp()
        self.masses = self.folder / "m.csv"

    def rows(self):
        return list(csv.DictReader(self.masses.read_text().splitlines()))

    def test_is_measured_beside_the_results(self):
        plain = self.output(*self.command(*self.LENGTH)).decode()
        expected = self.without_times()
        self.out.unlink()
        text = self.output(*self.command(*self.LENGTH, "--selection-mass", self.masses, "--mass-one-in", 8)).decode()
        self.assertEqual(self.without_times(), expected)
        self.assertTrue(text.startswith(plain))
        table = text[len(plain):].splitlines()
        self.assertRegex(table[0], "selection mass: percent")
        self.assertEqual(len(table), 2 + 2 * 2 * 3)  # blocks, uses, kinds of shares
        rows = self.rows()
        self.assertEqual([(row["block"], row["queries_of"], row["head"]) for row in rows],
                         [(block, use, head) for block in "25" for use in ("prompt", "answer") for head in "01"])
        for row in rows:
            self.assertEqual(row["context"], "1024")
            self.assertTrue(0 < float(row["lowest_decile"]) <= float(row["mean"]) <= float(row["mean_best"]) <= 1, row)
            if row["queries_of"] == "answer":
                # The model was trained to find what it is asked for; a query chooses the blank and each digit.
                self.assertEqual(int(row["queries"]), sum(len(r["answer"]) + 1 for r in expected))
                self.assertGreater(float(row["mean"]), 0.9)
            else:
                # Half of a prompt's queries at least have more than three chunks before them.
                self.assertGreater(int(row["queries"]), 50)
                self.assertLess(float(row["mean"]), 0.95)

    def test_is_the_same_on_any_grid(self):
        args = [*self.LENGTH, "--selection-mass", self.masses]
        text, expected = self.output(*self.command(*args)), self.masses.read_bytes()
        for n_stages, n_shards in ((1, 3), (2, 2)):
            self.out.unlink()
            self.masses.unlink()
            done = self.run_ranks(n_stages * n_shards,
                                  *self.command(*args, "--stages", n_stages, "--shards", n_shards))
            self.assertEqual((done.returncode, done.stdout), (0, text), done.stderr)
            self.assertEqual(self.masses.read_bytes(), expected)

    def test_full_attention_misses_nothing(self):
        self.evaluate(*self.LENGTH, "--attention", "full", "--selection-mass", self.masses)
        self.assertEqual(len(self.rows()), 8)
        for row in self.rows():
            self.assertEqual([row["mean"], row["lowest_decile"], row["mean_best"]], ["1"] * 3)

    def test_what_cannot_be_measured_is_refused(self):
        for mode in ("reference", "none"):
            self.assert_refused(self.command(*self.LENGTH, "--selection-mass", self.masses, "--attention", mode),
                                "--selection-mass", "moba or full", mode)
        self.assert_refused(self.command(*self.LENGTH, "--mass-one-in", 8), "--mass-one-in", "--selection-mass")
        self.assert_refused(["eval", "passkey", "--model", "preset:rwkv7-0.2b", "--tokenizer", "bytes", *self.LENGTH,
                             "--out", self.out, "--selection-mass", self.masses], "--selection-mass", "no sparse blocks")
        self.evaluate(*self.LENGTH)
        self.assert_refused(self.command(*self.LENGTH, "--selection-mass", self.masses), "--selection-mass", "r.jsonl",
                            "--out")
        self.assertFalse(self.masses.exists())


class Refusals(EvalTest):
    def assert_nothing_begun(self, args, *parts):
        self.assert_refused(args, *parts)
        self.assertFalse(self.out.exists())

    def test_bad_lines_are_named(self):
        good = {"input": "a", "outputs": ["b"]}
        for bad, complaint in (('{"input": "a", "out', "JSON"), ({"input": "a"}, "outputs"),
                               ({"outputs": ["b"]}, "input"), ({"input": "a", "outputs": [7]}, "outputs"), ("7", "JSON")):
            file = self.question_file(good, good, bad, good)
            self.assert_nothing_begun(self.command("--input", file, task="jsonl"), "questions.jsonl line 3", complaint)
        self.assert_nothing_begun(self.command("--input", self.folder / "none", task="jsonl"), "none")
        texts = self.file("t.jsonl", '{"text": "a"}\n{"txt": "a"}\n')
        self.assert_nothing_begun(self.command("--texts", texts, "--lengths", 10, task="loss"), "t.jsonl line 2", "text")

    def test_options(self):
        for args, part in ((["--lengths", "a"], "--lengths"), (["--lengths", "300,-1"], "--lengths"),
                           (["--lengths", "0"], "--lengths"), (["--lengths", "100"], "--lengths: passkey needs"),
                           (["--lengths", "300", "--depths", "0"], "--depths"),
                           (["--lengths", "300", "--samples", "0"], "--samples"), ([], "--lengths")):
            self.assert_nothing_begun(self.command(*args), part)
        self.assert_nothing_begun(["eval"], "passkey", "niah_single_1", "loss")
        self.assert_nothing_begun(self.command("--lengths", 300, out=self.folder / "no/r.jsonl"), "no/r.jsonl")
        self.assert_nothing_begun(self.command("--lengths", 10**8), "--lengths: 100000000 tokens need", "available")

    def test_every_task_has_its_help(self):
        text = self.output("eval", "--help").decode()
        for task in ("passkey", "niah_single_1", "niah_multikey_2", "niah_multikey_3", "vt", "cwe", "fwe", "jsonl",
                     "loss"):
            self.assertIn(task, text)
            self.assertIn("--out", self.output("eval", task, "--help").decode())


if __name__ == "__main__":
    program.main()
