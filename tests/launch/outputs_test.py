#!/usr/bin/env python3
"""Outputs: what their names may stand for, and that none takes the place of a file it must not."""
import json
import os
import shutil
import subprocess
import threading

import evaluation
import program
from program import MODEL

QUESTION = ("--lengths", "300", "--depths", "1", "--samples", "1", "--seed", "1", "--threads", "1")
RESULTS = b'{"question":0,"task":"passkey"'


class OutputsTest(evaluation.EvalTest):
    expected = {}  # bytes by kind, written once for all tests

    def setUp(self):
        super().setUp()
        self.tokens = self.file("tokens", "1 2 3\n")

    def logits(self, *args, tokens=None):
        return ["logits", "--model", MODEL, "--tokens", tokens or self.tokens, "--threads", "1", *args]

    def commands(self):
        """Of every output its kind, and the command without the name that comes last."""
        tail = self.command(*QUESTION)
        yield from ((kind, [*tail, f"--{kind}"]) for kind in ("csv", "svg", "selection-mass"))
        yield "trace", [*self.logits("--hash"), "--trace"]
        yield "npy", self.logits("--out")
        if shutil.which("rsvg-convert"):
            yield "png", [*tail, "--png"]

    def each(self):
        """The commands, each with its expected bytes, but of times; results are made anew."""
        for kind, command in self.commands():
            with self.subTest(kind=kind):
                self.out.unlink(missing_ok=True)
                plain = self.folder / f"plain.{kind}"
                if kind not in self.expected:
                    self.output(*command, plain)
                    self.expected[kind] = plain.read_bytes()
                plain.write_bytes(self.expected[kind])
                self.out.unlink(missing_ok=True)
                yield kind, command, plain

    def assert_written(self, kind, content, plain):
        if kind == "trace":
            self.assertIn("traceEvents", json.loads(content))
        else:
            self.assertEqual(content, plain.read_bytes())

    def assert_no_debris(self):
        self.assertEqual([path for path in self.folder.rglob("*") if "tmp" in path.name or "sorted" in path.name], [])


class Names(OutputsTest):
    def test_links_stay_and_what_they_name_is_written(self):
        (self.folder / "store").mkdir()
        for kind, command, plain in self.each():
            there, new = self.folder / "store" / kind, self.folder / "store" / f"new.{kind}"
            there.write_bytes(b"before" * 10000)
            there.chmod(0o640)
            for target, path in ((f"store/{kind}", there), (new, new)):
                link, far = self.folder / "link", self.folder / "link to link"
                link.symlink_to(target)
                far.symlink_to("link")
                self.output(*command, far)
                self.assertTrue(link.is_symlink() and far.is_symlink())
                self.assert_written(kind, path.read_bytes(), plain)
                self.out.unlink(missing_ok=True)
                link.unlink()
                far.unlink()
            self.assertEqual(there.stat().st_mode & 0o777, 0o640)
        self.assert_no_debris()

    def test_results_go_through_links(self):
        for target in ("there.jsonl", "new.jsonl"):
            path, link = self.folder / target, self.folder / f"link to {target}"
            if target == "there.jsonl":
                path.touch(0o640)
            link.symlink_to(target)
            self.assertEqual(len(self.evaluate(*QUESTION, out=link)), 1)
            self.assertTrue(link.is_symlink())
            self.assertTrue(path.read_bytes().startswith(RESULTS))
        # What a run makes and does not need goes with it, the link stays.
        (self.folder / "new.jsonl").unlink()
        self.assert_refused([*self.command(*QUESTION, out=link), "--selection-mass", "/nope/x"], "/nope/x")
        self.assertTrue(link.is_symlink())
        self.assertFalse((self.folder / "new.jsonl").exists())

    def test_standard_output_by_a_name(self):
        for kind, command, plain in self.each():
            for name in ("/dev/stdout", "/proc/self/fd/1", "link"):
                path = self.folder / name
                if name == "link":
                    path.symlink_to("/proc/self/fd/1")
                self.out.unlink(missing_ok=True)
                with (self.folder / "got").open("w+b") as got:
                    done = subprocess.run([program.PROGRAM, *map(str, command), path], stdout=got,
                                          stderr=subprocess.PIPE, timeout=program.SECONDS, check=False)
                    self.assertEqual((done.returncode, done.stderr), (0, b""))
                    got.seek(0)
                    content = got.read()
                if kind == "trace":
                    self.assertIn(b"traceEvents", content)
                else:
                    self.assertIn(plain.read_bytes(), content)
                self.assertTrue(os.path.islink("/dev/stdout"))
            (self.folder / "link").unlink()

    def test_a_named_pipe(self):
        for kind, command, plain in self.each():
            pipe, got = self.folder / f"pipe.{kind}", []
            os.mkfifo(pipe)
            reader = threading.Thread(target=lambda path=pipe, to=got: to.append(path.read_bytes()), daemon=True)
            reader.start()
            self.output(*command, pipe)
            reader.join(program.SECONDS)
            self.assert_written(kind, got[0], plain)

    def test_rows_in_any_order_into_a_pipe(self):
        args = self.logits("--positions", "2,0,2,1", "--out")
        self.output(*args, self.folder / "plain.npy")
        self.assertEqual(self.output(*args, "/dev/stdout"), (self.folder / "plain.npy").read_bytes())

    def test_a_file_of_two_names(self):
        for kind, command, plain in self.each():
            one, two = self.folder / f"one.{kind}", self.folder / f"two.{kind}"
            one.write_bytes(b"before" * 10000)
            two.hardlink_to(one)
            self.output(*command, one)
            self.assertEqual(one.stat().st_nlink, 2)
            self.assert_written(kind, two.read_bytes(), plain)
        self.assert_no_debris()

    def test_devices(self):
        for _, command, _ in self.each():
            self.output(*command, "/dev/null")
            self.out.unlink(missing_ok=True)
            self.assert_refused_late([*command, "/dev/full"], "/dev/full")
        self.assert_refused(self.command(*QUESTION, out="/dev/null"), "/dev/null", "not a regular file")

    def assert_refused_late(self, command, *parts):
        """What can only fail at the end of a run, whose summary may have been written."""
        done = self.run_program(*command)
        done.stdout = b""
        self.assert_one_sentence(done, *parts)

    def test_mounts(self):
        if subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode != 0:
            self.skipTest("no mount namespaces here")
        script = '''there=$1 name=$2; shift 2; : >"$there"; : >"$name"; mount --bind "$there" "$name" || exit 99; "$@"'''
        for kind, command, plain in self.each():
            there, name = self.folder / "there", self.folder / "mounted"
            done = subprocess.run(["unshare", "-m", "bash", "-c", script, "-", there, name, program.PROGRAM,
                                   *map(str, command), name],
                                  capture_output=True, timeout=program.SECONDS, check=False)
            self.assertEqual((done.returncode, done.stderr), (0, b""))
            self.assert_written(kind, there.read_bytes(), plain)
        self.assert_no_debris()

    def test_a_folder_that_may_not_be_written(self):
        folder = self.folder / "closed"
        folder.mkdir()
        folder.chmod(0o755)
        if os.geteuid() == 0:
            self.skipTest("root may write everywhere")
        for kind, command, plain in self.each():
            path = folder / kind
            folder.chmod(0o755)
            path.write_bytes(b"before" * 10000)
            folder.chmod(0o555)
            self.output(*command, path)
            self.assert_written(kind, path.read_bytes(), plain)
            self.out.unlink(missing_ok=True)
            self.assert_refused([*command, folder / f"new.{kind}"], f"new.{kind}")
            self.assertFalse(self.out.exists())
        folder.chmod(0o755)

    def test_what_cannot_be_written_is_refused_before_anything_is_computed(self):
        for kind, command in self.commands():
            for name in (self.folder, self.folder / "absent" / "x", self.tokens / "x"):
                with self.subTest(kind=kind, name=name):
                    self.assert_refused([*command, name], str(name))
                    self.assertFalse(self.out.exists())
        self.assert_refused(self.logits("--fingerprints", self.folder / "absent" / "f"), "absent/f.0")

    def test_fingerprints(self):
        plain, link = self.folder / "plain", self.folder / "link"
        (self.folder / "link.0").symlink_to("there")
        for name in (plain, link):
            self.output(*self.logits("--hash", "--fingerprints", name))
        self.assertEqual((self.folder / "there").read_bytes(), (self.folder / "plain.0").read_bytes())
        self.assertTrue((self.folder / "link.0").is_symlink())
        (self.folder / "full.0").symlink_to("/dev/full")
        self.assert_refused_late(self.logits("--hash", "--fingerprints", self.folder / "full"), "full.0")


class OneFileTwice(OutputsTest):
    def test_two_outputs(self):
        self.evaluate(*QUESTION)
        whole = self.out.read_bytes()
        (self.folder / "hard").hardlink_to(self.out)
        (self.folder / "soft").symlink_to("r.jsonl")
        for kind in ("csv", "svg", "selection-mass", "trace"):
            for name in (self.out, self.folder / "." / "r.jsonl", self.folder / "hard", self.folder / "soft"):
                with self.subTest(kind=kind, name=name):
                    command = self.command(*QUESTION, f"--{kind}", name)
                    self.assert_refused(command, "--out", f"--{kind}")
                    self.assertEqual(self.out.read_bytes(), whole)
            for name in ("new", "./new"):
                self.assert_refused(self.command(*QUESTION, f"--{kind}", name, out="new"), "--out", f"--{kind}")
        self.assert_refused(self.command(*QUESTION, "--svg", "x", "--csv", "./x"), "--csv", "--svg")
        self.assert_refused(self.logits("--out", "x", "--trace", "./x"), "--out", "--trace")
        self.assert_refused(self.logits("--fingerprints", "x", "--out", "./x.0"), "--out", "--fingerprints")
        self.output(*self.command(*QUESTION, "--csv", "/dev/null", "--svg", "/dev/null"))

    def test_an_input(self):
        model = self.folder / "model"
        shutil.copytree(MODEL, model)
        vocabulary = self.file("vocabulary.txt", "".join(f"{i + 1} {bytes([i])!r} 1\n" for i in range(255)))
        questions = self.question_file({"input": "The grass is", "outputs": ["green"]})
        prompt = self.file("prompt", "hi")
        text = self.file("text", "The grass is green. " * 20)
        last = ("--model", model, "--threads", "1")
        generate = ["generate", *last, "-n", 1, "--prompt-file", prompt, "--tokenizer", vocabulary]
        logits = ["logits", *last, "--tokens", self.tokens]
        ask = ["eval", "jsonl", *last, "--input", questions, "--new-tokens", 2, "--tokenizer", vocabulary]
        losses = ["eval", "loss", *last, "--texts", text, "--lengths", 100, "--out", self.out]
        checkpoint, config = model / program.CHECKPOINT.name, model / "config.json"
        for command, option, names in (
                (generate, "--trace", (prompt, vocabulary, checkpoint, config)),
                (logits, "--out", (self.tokens, checkpoint, config)),
                (logits, "--trace", (self.tokens, checkpoint, config)),
                (ask, "--out", (questions, vocabulary, checkpoint, config)),
                ([*ask, "--out", self.out], "--csv", (questions, vocabulary, checkpoint, config)),
                (losses, "--csv", (text, checkpoint)),
                (["bench", "decode", *last, "--context", 1], "--trace", (checkpoint, config))):
            for name in names:
                before = name.read_bytes()
                spelled, soft, hard = name.parent / "." / name.name, self.folder / "soft", self.folder / "hard"
                soft.symlink_to(name)
                hard.hardlink_to(name)
                for spelling in (name, spelled, soft, hard):
                    with self.subTest(command=command[:2], option=option, name=name.name, spelling=spelling.name):
                        self.assert_refused([*command, option, spelling], option, "also")
                        self.assertEqual(name.read_bytes(), before)
                        self.assertFalse(self.out.exists())
                soft.unlink()
                hard.unlink()
        self.assert_no_debris()

    def test_where_a_standard_stream_goes(self):
        for stream, what in (("stdout", "standard output"), ("stderr", "standard error"), ("stdin", "standard input")):
            for kind, command in self.commands():
                with self.subTest(stream=stream, kind=kind):
                    path = self.folder / "stream"
                    path.write_bytes(b"before")
                    with path.open("a+b" if stream == "stderr" else "r+b") as file:
                        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, stream: file}
                        done = subprocess.run([program.PROGRAM, *map(str, command), path], **streams,
                                              timeout=program.SECONDS, check=False)
                    self.assertEqual(done.returncode, 2)
                    message = path.read_bytes() if stream == "stderr" else done.stderr
                    self.assertIn(what.encode(), message)
                    self.assertTrue(path.read_bytes().startswith(b"before"))


class ForeignFiles(OutputsTest):
    def test_are_never_emptied(self):
        for content in ('{"notes": "the only copy of an afternoon"}', "one line of text", "[1, 2, 3]",
                        '\n\n{"input": "x", "outputs": ["y"]}', '{"question": "why?"}', '{"question":"why?"}',
                        '{"question":0,"answer":1}', '{"question":7,"task":"passkey","length":300,', "\n \n{", "{}",
                        '{"question":0,"task":"passkey","length":3000,', "x", "\0"):
            with self.subTest(content=content):
                self.out.write_text(content)
                done = self.run_program(*self.command(*QUESTION))
                if '\n \n{' == content:  # so a line may begin
                    self.assertEqual(done.returncode, 0)
                    continue
                self.assert_one_sentence(done, "r.jsonl line 1: is no line of results")
                self.assertEqual(self.out.read_text(), content)

    def test_a_line_cut_short_anywhere_is_asked_again(self):
        self.evaluate(*QUESTION)
        whole = self.out.read_bytes()
        for n in (1, 5, 13, 14, 20, 40, 45, 100, len(whole) - 1):
            self.out.write_bytes(whole[:n])
            self.evaluate(*QUESTION)
            self.assertEqual(self.out.read_bytes().count(b"\n"), 1)


if __name__ == "__main__":
    program.main()
