#!/usr/bin/env python3
"""The command generate: what is written where, when it stops, and how it is stopped."""
import os
import pty
import re
import signal
import subprocess

import program
from program import MODEL

PROMPT, ANSWER = program.question()
STATISTICS = re.compile(
    r"prompt (?:(?P<read>\d+) of )?(?P<prompt>\d+) tokens(?:, [\d.]+ tokens/s)?; "
    r"generated (?P<generated>\d+) tokens(?:, [\d.]+ tokens/s, [\d.]+ ms/token, [\d.]+ GB/s)?; "
    r"seed (?P<seed>\d+); stopped by (?P<reason>[\w -]+); logits (?P<hash>[0-9a-f]{16})\n")


class GenerateTest(program.ProgramTest):
    def generate(self, *args, prompt=PROMPT, **options):
        """Standard output and the statistics of a run that must succeed."""
        done = self.run_program("generate", "--model", MODEL, *args, stdin=prompt, **options)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout, self.statistics(done.stderr)

    def statistics(self, stderr):
        match = STATISTICS.fullmatch(stderr.decode())
        self.assertIsNotNone(match, stderr)
        return match

    def greedy(self, *args, **options):
        return self.generate("--temperature", 0, *args, **options)


class Prompts(GenerateTest):
    def test_the_answer_alone_goes_to_standard_output(self):
        text, statistics = self.greedy()
        self.assertEqual(text, ANSWER)
        self.assertEqual(statistics["reason"], "end token")
        self.assertEqual(int(statistics["prompt"]), len(PROMPT))
        self.assertEqual(int(statistics["generated"]), len(ANSWER))

    def test_all_ways_to_give_it_are_the_same(self):
        prompt = b"one line\n\n"
        by_input = self.greedy("-n", 3, prompt=prompt)[1]["hash"]
        by_option = self.greedy("-n", 3, "--prompt", prompt.decode())[1]["hash"]
        by_file = self.greedy("-n", 3, "--prompt-file", self.file("prompt", prompt))[1]["hash"]
        without_line_end = self.greedy("-n", 3, prompt=prompt.rstrip())[1]["hash"]
        self.assertEqual(by_input, by_option)
        self.assertEqual(by_input, by_file)
        self.assertNotEqual(by_input, without_line_end)

    def test_an_option_may_begin_with_a_dash_and_hold_anything(self):
        for prompt in ("-5 degrees", "--prompt", "[a,b]", "{}", "a=b", "%%"):
            with self.subTest(prompt=prompt):
                by_option = self.greedy("-n", 2, "--prompt", prompt)[1]["hash"]
                self.assertEqual(by_option, self.greedy("-n", 2, prompt=prompt.encode())[1]["hash"])

    def test_an_empty_one_is_refused(self):
        self.assert_refused(["generate", "--model", MODEL], "prompt")
        self.assert_refused(["generate", "--model", MODEL, "--prompt", ""], "prompt")
        self.assert_refused(["generate", "--model", MODEL, "--prompt-file", self.file("empty", b"")], "prompt")

    def test_threads_do_not_matter(self):
        expected = self.greedy("--threads", 1)[1]["hash"]
        self.assertEqual(self.greedy("--threads", 2)[1]["hash"], expected)


class Stopping(GenerateTest):
    def test_token_limit(self):
        text, statistics = self.greedy("-n", 3)
        self.assertEqual(text, ANSWER[:3])
        self.assertEqual(statistics["reason"], "token limit")

    def test_stop_strings(self):
        stop = ANSWER[2:4].decode()
        text, statistics = self.greedy("--stop", "not in the answer", "--stop", stop)
        self.assertEqual(text, ANSWER[:ANSWER.index(stop.encode())])
        self.assertEqual(statistics["reason"], "stop string")

    def test_the_beginning_of_a_stop_string_is_written_if_the_rest_does_not_come(self):
        self.assertEqual(self.greedy("--stop", ANSWER[-2:].decode() + "more")[0], ANSWER)

    def test_stop_tokens(self):
        token = ANSWER[2]
        text, statistics = self.greedy("--stop-token", 255, "--stop-token", token)
        self.assertEqual(text, ANSWER[:ANSWER.index(token)])
        self.assertEqual(statistics["reason"], f"token {token}")

    def test_banned_tokens_never_come(self):
        text, _ = self.greedy("--ban-token", ANSWER[1], "--ban-token", 0, "-n", 12)
        self.assertNotIn(ANSWER[1], text)
        self.assertEqual(len(text), 12)


class Sampling(GenerateTest):
    SAMPLED = ("--temperature", 1.5, "--top-p", 1, "--ban-token", 0, "-n", 40)

    def test_a_seed_reproduces(self):
        first, statistics = self.generate(*self.SAMPLED, "--seed", 5)
        self.assertEqual(statistics["seed"], "5")
        self.assertEqual(self.generate(*self.SAMPLED, "--seed", 5)[0], first)
        self.assertNotEqual(self.generate(*self.SAMPLED, "--seed", 6)[0], first)

    def test_a_random_seed_is_reported(self):
        first, statistics = self.generate(*self.SAMPLED)
        self.assertEqual(self.generate(*self.SAMPLED, "--seed", statistics["seed"])[0], first)
        self.assertNotEqual(self.generate(*self.SAMPLED)[1]["seed"], statistics["seed"])

    def test_greedy_ways_agree(self):
        self.assertEqual(self.generate("--top-p", 0, "--presence-penalty", 0, "--frequency-penalty", 0)[0], ANSWER)
        self.assertEqual(self.generate("--sample-top-k", 1, "--presence-penalty", 0, "--frequency-penalty", 0)[0],
                         ANSWER)

    def test_penalties_act_when_asked_for(self):
        plain = self.greedy("--ban-token", 0, "-n", 30)[0]
        self.assertNotEqual(self.greedy("--ban-token", 0, "-n", 30, "--presence-penalty", 30)[0], plain)

    def test_greedy_is_without_penalties_unless_they_are_asked_for(self):
        looping = {"prompt": b"Once"}  # penalties of the usual size break the loop this continues with
        plain = self.greedy("--ban-token", 0, "-n", 100, **looping)[1]["hash"]
        for penalty, same in ((0, True), (0.2, False)):
            asked = self.greedy("--ban-token", 0, "-n", 100, "--presence-penalty", penalty,
                                "--frequency-penalty", penalty, **looping)[1]["hash"]
            self.assertEqual(asked == plain, same, penalty)

    def test_output_is_utf8_whatever_comes(self):
        text, _ = self.generate("--temperature", 100, "--top-p", 1, "--ban-token", 0, "-n", 400, "--seed", 1)
        self.assertGreater(len(text.decode()), 0)
        self.assertIn("\N{REPLACEMENT CHARACTER}", text.decode())


class Interruption(GenerateTest):
    ENDLESS = ("generate", "--model", MODEL, "--ban-token", "0", "-n", "200000", "--seed", "1")

    def interrupt(self, process, number):
        """Sends a signal and returns (exit code, statistics)."""
        process.send_signal(number)
        _, stderr = process.communicate(timeout=program.SECONDS)
        return process.returncode, self.statistics(stderr)

    def test_while_generating(self):
        for number, exit_code in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
            with self.subTest(signal=number):
                process = self.start(*self.ENDLESS, "--prompt", "Once", stdout=subprocess.PIPE,
                                     stderr=subprocess.PIPE)
                process.stdout.read(1)
                code, statistics = self.interrupt(process, number)
                self.assertEqual(code, exit_code)
                self.assertEqual(statistics["reason"], "signal")
                self.assertGreater(int(statistics["generated"]), 0)

    def test_while_reading_a_long_prompt_on_a_terminal(self):
        prompt = self.file("long", PROMPT * 1000)
        try:
            reader, terminal = pty.openpty()
        except OSError as problem:  # a bare chroot has no /dev/pts
            self.skipTest(f"no terminal can be opened here: {problem}")
        process = self.start(*self.ENDLESS, "--prompt-file", prompt, stdout=subprocess.PIPE, stderr=terminal)
        os.close(terminal)
        seen = b""
        while b"left" not in seen:
            seen += os.read(reader, 1000)
        self.assertRegex(seen.decode(), r"reading +\d+%  \d+ of \d+ tokens, \d+ tokens/s, [\d:]+ left")
        process.send_signal(signal.SIGINT)
        self.assertEqual(process.stdout.read(), b"")
        rest = b""
        try:
            while piece := os.read(reader, 1000):
                rest += piece
        except OSError:  # how Linux tells that the other end is closed
            pass
        os.close(reader)
        self.assertEqual(process.wait(timeout=program.SECONDS), 130)
        line = rest.decode().split("\x1b[K")[-1].replace("\r\n", "\n")  # what stays after the erased progress
        statistics = self.statistics(line.encode())
        self.assertEqual(statistics["reason"], "signal")
        self.assertLess(int(statistics["read"]), int(statistics["prompt"]))
        self.assertEqual(statistics["generated"], "0")

    def test_a_reader_that_goes_away_ends_it_quietly(self):
        process = self.start(*self.ENDLESS, "--prompt", "Once", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        process.stdout.read(1)
        process.stdout.close()
        stderr = process.stderr.read()
        self.assertEqual(process.wait(timeout=program.SECONDS), 0)
        self.assertEqual(self.statistics(stderr)["reason"], "closed output")

    def test_a_full_disk_is_an_error(self):
        with open("/dev/full", "wb") as full:
            process = self.start(*self.ENDLESS, "--prompt", "Once", stdout=full, stderr=subprocess.PIPE)
            _, stderr = process.communicate(timeout=program.SECONDS)
        self.assertEqual(process.returncode, 2)
        self.assertRegex(stderr.decode(), r"\Alongreach: standard output[^\n]*\n\Z")


if __name__ == "__main__":
    program.main()
