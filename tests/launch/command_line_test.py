#!/usr/bin/env python3
"""The command line itself: help, versions, and options that are not as they must be."""
import program
from program import MODEL


class Help(program.ProgramTest):
    def test_names_the_commands(self):
        text = self.output("--help").decode()
        for command in ("generate", "logits", "tokenize", "inspect", "plan", "bench"):
            self.assertIn(command, text)

    def test_of_each_command_has_an_example(self):
        for command in ("generate", "logits", "tokenize", "inspect", "plan", "bench"):
            with self.subTest(command=command):
                text = self.output(command, "--help").decode()
                self.assertIn("--model", text)
                self.assertRegex(text, rf"\n  longreach {command} .*--")

    def test_version(self):
        self.assertRegex(self.output("--version").decode(), r"\Alongreach \d+\.\d+\.\d+\n\Z")


class WrongOptions(program.ProgramTest):
    def test_no_or_unknown_command(self):
        self.assert_refused([], "generate")
        self.assert_refused(["transmogrify"], "transmogrify")

    def test_unknown_option_or_argument(self):
        self.assert_refused(["generate", "--model", MODEL, "--prompt", "a", "--colour"], "--colour")
        self.assert_refused(["generate", "--model", MODEL, "--prompt", "a", "more"], "more")

    def test_missing_option_or_value(self):
        self.assert_refused(["generate", "--prompt", "a"], "--model")
        self.assert_refused(["logits", "--model", MODEL], "--tokens")
        self.assert_refused(["inspect", "--model"], "--model")
        self.assert_refused(["tokenize"], "--model", "--tokenizer")

    def test_a_misspelt_option_is_named_before_what_it_leaves_out(self):
        self.assert_refused(["generate", "--modell", MODEL], f"command line: --modell {MODEL}")
        self.assert_refused(["generate", "x", "--model", MODEL, "--pompt", "y"], "command line: x --pompt y")

    def test_values(self):
        for option, values in {
                "--chunk-size": ("0", "-1", "x", "", "1.5", "99999999999999999999"),
                "--top-k": ("0", "-3"),
                "--kv-max": ("-1", "nan"),
                "--kv-min": ("-1",),
                "--kv-window": ("1e3",),
                "--threads": ("0", "-2", "1000000"),
                "-n": ("0", "-5", "18446744073709551616"),
                "--temperature": ("-1", "nan", "inf", "warm"),
                "--top-p": ("1.5", "-0.1", "NaN"),
                "--sample-top-k": ("-1",),
                "--presence-penalty": ("inf", "-1"),
                "--frequency-penalty": ("x",),
                "--penalty-decay": ("1.1", "-0.5"),
                "--seed": ("-1", "18446744073709551616"),
                "--stop": ("",),
                "--stop-token": ("-1", "256"),
                "--ban-token": ("a", "4294967296"),
                "--attention": ("dense", ""),
                "--weights": ("int3",),
                "--activations": ("int4", "f16", "int8"),  # the last fits other weights
                "--kv": ("int4", "f16", "BF16", ""),
                "--stages": ("0", "4097"),
                "--shards": ("0", "x"),
                "--exchange": ("carry", ""),
                "--trace": ("",),
        }.items():
            for value in values:
                with self.subTest(option=option, value=value):
                    self.assert_refused(["generate", "--model", MODEL, "--prompt", "a", option, value], option)

    def test_options_of_reference_mode_fit_together(self):
        self.assert_refused(["generate", "--model", MODEL, "--prompt", "a", "--attention", "reference",
                             "--kv-min", 100, "--kv-window", 100], "--kv-min", "--kv-window")

    def test_options_that_exclude_each_other(self):
        self.assert_refused(["generate", "--model", MODEL, "--prompt", "a", "--prompt-file", "b"], "--prompt-file")
        self.assert_refused(["tokenize", "--model", MODEL, "--tokenizer", "bytes"], "--tokenizer")
        self.assert_refused(["tokenize", "--tokenizer", "bytes", "--text", "1", "--decode"], "--text")

    def test_files_that_are_not_there(self):
        self.assert_refused(["generate", "--model", self.folder / "absent.pth", "--prompt", "a"], "absent.pth")
        self.assert_refused(["generate", "--model", self.folder, "--prompt", "a"], str(self.folder))
        self.assert_refused(["generate", "--model", MODEL, "--prompt-file", self.folder / "absent"], "absent")
        self.assert_refused(["generate", "--model", MODEL, "--prompt-file", self.folder], str(self.folder))
        self.assert_refused(["logits", "--model", MODEL, "--tokens", self.folder / "absent"], "absent")
        self.assert_refused(["tokenize", "--tokenizer", self.folder / "absent"], "absent")

    def test_a_message_stays_one_line(self):
        self.assert_refused(["inspect", "--model", "two\nlines\x1b[31m"], "two lines")


class Memory(program.ProgramTest):
    def test_more_than_the_machine_has_is_refused(self):
        self.assert_refused(["generate", "--model", MODEL, "--prompt", "a", "-n", 4 * 10**9], "-n", "GB")


if __name__ == "__main__":
    program.main()
