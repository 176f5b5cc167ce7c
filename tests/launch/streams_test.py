#!/usr/bin/env python3
"""Standard streams in any state, and what the system refuses: a run ends by itself, with the exit code it would have."""
import itertools
import os
import pty
import resource
import signal
import subprocess

import evaluation
import program
from program import MODEL

GENERATE = ("generate", "--model", MODEL, "--prompt", "hi", "-n", 3, "--threads", 1, "--temperature", 0)
NO_MODEL = ("inspect", "--model", "/nope")
QUESTION = ("--lengths", "300", "--depths", "1", "--samples", "1", "--threads", 1)


def in_child(*actions):
    """Runs them in the process that is about to become the program."""
    def run():
        for action, *args in actions:
            action(*args)
    return run


class StreamsTest(evaluation.EvalTest):
    def exit_code(self, *command, **options):
        """Of a run of whose standard streams those that matter are given."""
        streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, **options}
        return self.start(*command, **streams).wait(timeout=program.SECONDS)

    def commands(self):
        """With their exit codes."""
        return ((GENERATE, 0), (NO_MODEL, 2), (("nonsense",), 2), ((*GENERATE, "--verbose"), 0),
                (self.command(*QUESTION, "--verbose"), 0))


class Messages(StreamsTest):
    def test_nobody_takes_them(self):
        for command, expected in self.commands():
            with self.subTest(command=command[0]):
                with open("/dev/full", "wb") as full:
                    self.assertEqual(self.exit_code(*command, stderr=full), expected)
                reader, writer = os.pipe()
                os.close(reader)
                self.assertEqual(self.exit_code(*command, stderr=writer), expected)
                os.close(writer)
                self.assertEqual(self.exit_code(*command, preexec_fn=in_child((os.close, 2))), expected)
                self.out.unlink(missing_ok=True)

    def test_a_terminal_that_goes_away(self):
        try:
            reader, terminal = pty.openpty()
        except OSError as problem:  # a bare chroot has no /dev/pts
            self.skipTest(f"no terminal can be opened here: {problem}")
        copies = 20 if program.is_sanitized() else 200  # long enough for lines after the first
        prompt = self.file("long", program.question()[0] * copies)
        process = self.start("generate", "--model", MODEL, "--prompt-file", prompt, "-n", 1, "--temperature", 0,
                             stdout=subprocess.DEVNULL, stderr=terminal, start_new_session=True)
        os.close(terminal)
        os.read(reader, 1)  # a progress line has begun
        os.close(reader)
        self.assertEqual(process.wait(timeout=program.SECONDS), 0)

    def test_a_hangup_ends_a_run_cleanly_and_nohup_prevents_it(self):
        endless = ("generate", "--model", MODEL, "--prompt", "hi", "--ban-token", 0, "--temperature", 0)
        process = self.start(*endless, "-n", 10**6, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        process.stdout.read(1)
        process.send_signal(signal.SIGHUP)
        _, stderr = process.communicate(timeout=program.SECONDS)
        self.assertEqual(process.returncode, 128 + signal.SIGHUP)
        self.assertIn(b"stopped by signal", stderr)
        process = self.start(*endless, "-n", 2000, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                             preexec_fn=in_child((signal.signal, signal.SIGHUP, signal.SIG_IGN)))
        process.stdout.read(1)
        process.send_signal(signal.SIGHUP)
        _, stderr = process.communicate(timeout=program.SECONDS)
        self.assertEqual(process.returncode, 0)
        self.assertIn(b"stopped by token limit", stderr)


class ClosedStreams(StreamsTest):
    def test_no_file_takes_their_places(self):
        tokens = self.file("tokens", "1 2 3")
        table, logits = self.folder / "t.csv", self.folder / "l.npy"
        commands = ((("logits", "--model", MODEL, "--tokens", tokens, "--out", logits, "--verbose"), False),
                    (GENERATE, True), (self.command(*QUESTION, "--csv", table, "--verbose"), True), (NO_MODEL, False),
                    (("tokenize", "--model", MODEL, "--text", "hi"), True))
        outputs = (self.out, table, logits)
        expected = {}
        for command, _ in commands[:3]:
            self.output(*command)
        for path in outputs:
            expected[path] = path.read_bytes()
        for n in range(1, 4):
            for closed in itertools.combinations(range(3), n):
                for command, prints in commands:
                    with self.subTest(closed=closed, command=command[0]):
                        for path in outputs:
                            path.unlink(missing_ok=True)
                        code = self.exit_code(*command, preexec_fn=in_child(*((os.close, fd) for fd in closed)))
                        fails = command is NO_MODEL or (prints and 1 in closed)
                        self.assertEqual(code, 2 if fails else 0)
                        for path in outputs[2:]:
                            if path.exists():
                                self.assertEqual(path.read_bytes(), expected[path])
                        if self.out.exists():
                            self.assertEqual(len(self.without_times()), 1)

    def test_a_closed_standard_input_is_no_prompt(self):
        for command in (("generate", "--model", MODEL, "-n", 1), ("tokenize", "--model", MODEL)):
            done = self.run_closed(0, *command)
            self.assert_one_sentence(done, "standard input: cannot be read")

    def test_a_closed_standard_output_is_an_error_with_a_message(self):
        for command in (("--help",), ("tokenize", "--model", MODEL, "--text", "hi"), ("inspect", "--model", MODEL)):
            done = self.run_closed(1, *command)
            done.stdout = b""
            self.assert_one_sentence(done, "standard output: cannot be written")

    def run_closed(self, descriptor, *command):
        return subprocess.run([program.PROGRAM, *map(str, command)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, timeout=program.SECONDS, check=False,
                              preexec_fn=in_child((os.close, descriptor)))


class Limits(StreamsTest):
    def limited(self, *command, limits=(), signals=()):
        actions = [(resource.setrlimit, limit, (n, n)) for limit, n in limits]
        actions += [(signal.signal, number, signal.SIG_DFL) for number in signals]
        return self.run_program(*command, preexec_fn=in_child(*actions))

    def names(self):
        return sorted(path.name for path in self.folder.iterdir())

    def test_files_that_may_not_grow(self):
        tokens = self.file("tokens", "1 2 3")
        logits = ("logits", "--model", MODEL, "--tokens", tokens, "--threads", 1)
        for command, output in (((*GENERATE, "--trace"), "t.json"), ((*logits, "--out"), "o.npy"),
                                ((*logits, "--fingerprints"), "f"), ([*self.command(*QUESTION), "--csv"], "t.csv")):
            for n_bytes in (0, 100):
                with self.subTest(output=output, n_bytes=n_bytes):
                    before = self.names()
                    done = self.limited(*command, self.folder / output, limits=[(resource.RLIMIT_FSIZE, n_bytes)],
                                        signals=[signal.SIGXFSZ])
                    done.stdout = b""
                    self.assert_one_sentence(done, "cannot be written: File too large")
                    self.assertEqual(self.names(), before)

    def test_results_that_may_not_grow_are_cut_where_they_were_whole(self):
        args = ("--lengths", "300", "--depths", "1", "--samples", "3", "--threads", 1)
        self.evaluate(*args)
        whole = self.out.read_bytes().splitlines(True)
        self.out.unlink()
        self.assert_one_sentence(self.limited(*self.command(*args), limits=[(resource.RLIMIT_FSIZE, len(whole[0]) + 50)]),
                                 "r.jsonl: cannot be written: File too large")
        self.assertEqual(self.out.read_bytes().count(b"\n"), 1)
        self.assertTrue(self.out.read_bytes().endswith(b"\n"))

    def test_threads_that_are_refused(self):
        if program.is_sanitized():
            self.skipTest("sanitizers need address space and threads of their own")
        done = self.limited(*GENERATE[:-4], "--threads", 64, "--temperature", 0,
                            limits=[(resource.RLIMIT_AS, 200 << 20)])
        self.assert_one_sentence(done, "--threads: of 64 threads the system lets ")

    def test_descriptors_and_memory_that_are_refused(self):
        if program.is_sanitized():
            self.skipTest("sanitizers need address space and descriptors of their own")
        command = self.command(*QUESTION, "--csv", self.folder / "t.csv")
        sizes = [(resource.RLIMIT_NOFILE, n) for n in range(3, 9)] + [(resource.RLIMIT_AS, n << 20) for n in
                                                                     (60, 80, 100, 120, 150)]
        for limit, n in sizes:
            with self.subTest(limit=limit, n=n):
                self.out.unlink(missing_ok=True)
                done = self.limited(*command, limits=[(limit, n)])
                if done.returncode != 127 and done.returncode != 0:  # not even the loader starts; all was enough
                    done.stdout = b""
                    self.assert_one_sentence(done)


if __name__ == "__main__":
    program.main()
