#!/usr/bin/env python3
"""The command logits: the same numbers for every split and thread count, and the forms they are given in."""
import ast
import contextlib
import hashlib
import json
import os
import pathlib
import signal
import struct
import subprocess
import time

import program
from program import MODEL

VOCABULARY = 256
TOKENS = [(37 * i * i + 11 * i) % 96 + 32 for i in range(200)]  # a little over three chunks of the demo model


def read_npy(path):
    """A list of rows of bytes: float32, little endian."""
    content = path.read_bytes()
    assert content[:8] == b"\x93NUMPY\x01\x00", content[:8]
    length, = struct.unpack_from("<H", content, 8)
    header = ast.literal_eval(content[10:10 + length].decode())
    assert header["descr"] == "<f4" and header["fortran_order"] is False, header
    rows, columns = header["shape"]
    data = content[10 + length:]
    assert (10 + length) % 64 == 0 and len(data) == rows * columns * 4, (length, len(data), header)
    return [data[i * columns * 4:(i + 1) * columns * 4] for i in range(rows)]


def npy_of_tokens(tokens, dtype="<i8", code="q", shape=None):
    header = repr({"descr": dtype, "fortran_order": False, "shape": shape or (len(tokens),)}).encode()
    header += b" " * (-(10 + len(header) + 1) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + struct.pack(f"<{len(tokens)}{code}", *tokens)


class LogitsTest(program.ProgramTest):
    def setUp(self):
        super().setUp()
        self.tokens = self.file("tokens.json", json.dumps(TOKENS))

    def logits(self, *args, tokens=None):
        return self.output("logits", "--model", MODEL, "--tokens", tokens or self.tokens, *args)

    def hash(self, *args, **options):
        line = self.logits("--hash", *args, **options).decode()
        self.assertRegex(line, r"\A[0-9a-f]{64}\n\Z")
        return line.strip()

    def rows(self, *args, **options):
        out = self.folder / "logits.npy"
        self.assertEqual(self.logits("--out", out, *args, **options), b"")
        return read_npy(out)

    def refused(self, *args, parts, tokens=None):
        self.assert_refused(["logits", "--model", MODEL, "--tokens", tokens or self.tokens, *args], *parts)


class OneAnswer(LogitsTest):
    def test_splits_and_threads_give_the_same_bits(self):
        n = len(TOKENS)
        splits = (f"{n}", f"1*{n}", f"7*{n // 7},{n % 7}", "1,63,64,65,7")
        self.assertEqual(1 + 63 + 64 + 65 + 7, n)
        for mode in ("moba", "full"):
            expected = self.hash("--attention", mode)
            for threads in (1, 2):
                for calls in splits:
                    with self.subTest(mode=mode, threads=threads, calls=calls):
                        self.assertEqual(
                            self.hash("--attention", mode, "--threads", threads, "--calls", calls), expected)

    def test_splits_give_the_same_bits_with_weights_in_f32(self):
        self.assertEqual(self.hash("--weights", "f32", "--calls", "1*200"), self.hash("--weights", "f32"))

    def test_splits_and_threads_give_the_same_bits_with_caches_of_fewer_bits(self):
        hashes = {self.hash()}
        for kv in ("bf16", "int8"):
            expected = self.hash("--kv", kv)
            hashes.add(expected)
            for calls, threads in (("1*200", 2), ("1,63,64,65,7", 1)):
                with self.subTest(kv=kv, calls=calls):
                    self.assertEqual(self.hash("--kv", kv, "--calls", calls, "--threads", threads), expected)
        self.assertEqual(len(hashes), 3)
        self.assertEqual(self.hash("--kv", "f32"), self.hash())

    def test_the_modes_differ(self):
        hashes = {self.hash("--attention", mode, "--top-k", 2) for mode in ("moba", "full", "reference")}
        self.assertEqual(len(hashes), 3)

    def test_reference_mode_does_not_depend_on_threads(self):
        calls = ("--attention", "reference", "--calls", "150,1*40", "--kv-max", 100, "--kv-min", 90, "--kv-window", 10)
        self.assertEqual(self.hash(*calls, "--threads", 1), self.hash(*calls, "--threads", 2))

    def test_chunk_size_and_top_k_are_those_of_the_config_unless_given(self):
        plain = self.hash()
        self.assertEqual(self.hash("--chunk-size", 64, "--top-k", 3), plain)
        self.assertNotEqual(self.hash("--chunk-size", 32), plain)
        self.assertNotEqual(self.hash("--top-k", 2), plain)


class Forms(LogitsTest):
    def test_the_hash_is_that_of_the_recorded_numbers(self):
        rows = self.rows()
        self.assertEqual(len(rows), len(TOKENS))
        self.assertTrue(all(len(row) == VOCABULARY * 4 for row in rows))
        self.assertEqual(self.hash(), hashlib.sha256(b"".join(rows)).hexdigest())

    def test_positions_in_any_order(self):
        every = self.rows()
        wanted = [150, 3, 3, 0, 199]
        self.assertEqual(self.rows("--positions", ",".join(map(str, wanted))), [every[i] for i in wanted])
        once = hashlib.sha256(b"".join(every[i] for i in sorted(set(wanted)))).hexdigest()
        for calls in ("200", "1*200", "100,100"):
            self.assertEqual(self.hash("--positions", ",".join(map(str, wanted)), "--calls", calls), once)

    def test_calls_may_leave_tokens_unread(self):
        every = self.rows()
        self.assertEqual(self.rows("--calls", "100,1*5"), every[:105])

    def test_the_best_five_as_text(self):
        row = struct.unpack(f"<{VOCABULARY}f", self.rows("--positions", 9)[0])
        best = sorted(range(VOCABULARY), key=lambda i: (-row[i], i))[:5]
        expected = "position 9:" + "".join(f"  {i} {row[i]:.6f}" for i in best) + "\n"
        self.assertEqual(self.logits("--positions", 9).decode(), expected)

    def test_every_form_of_token_file(self):
        expected = self.hash()
        for name, content in {
                "lines.txt": "\n".join(map(str, TOKENS)),
                "commas.txt": ", ".join(map(str, TOKENS)) + "\n",
                "i8.npy": npy_of_tokens(TOKENS),
                "u2.npy": npy_of_tokens(TOKENS, "<u2", "H"),
                "row.npy": npy_of_tokens(TOKENS, "<i4", "i", (1, len(TOKENS))),
        }.items():
            with self.subTest(name=name):
                self.assertEqual(self.hash(tokens=self.file(name, content)), expected)


class Refusals(LogitsTest):
    def test_calls(self):
        for calls in ("0", "-1", "", "100,,1", "201", "100,1*101", "1*0", "x", "1*99999999999999999999"):
            with self.subTest(calls=calls):
                self.refused("--calls", calls, parts=["--calls"])

    def test_positions(self):
        for positions in ("200", "-1", "", "1;2", "99999999999999999999"):
            with self.subTest(positions=positions):
                self.refused("--positions", positions, parts=["--positions"])
        self.refused("--calls", "10", "--positions", "10", parts=["--positions"])

    def test_tokens_outside_the_vocabulary(self):
        bad = self.file("bad.txt", "1 2 256")
        self.refused("--hash", tokens=bad, parts=["bad.txt", "token 2", "256"])
        self.refused("--hash", tokens=self.file("minus.txt", "1 -2"), parts=["minus.txt", "token 1", "-2"])
        self.refused("--hash", tokens=self.file("empty.txt", ""), parts=["empty.txt"])

    def test_torn_npy(self):
        whole = npy_of_tokens(TOKENS)
        for size in (3, 9, 11, 60, 128, 200, len(whole) - 1):
            with self.subTest(size=size):
                self.refused("--hash", tokens=self.file("torn.npy", whole[:size]), parts=["torn.npy"])

    def test_places_that_cannot_be_written(self):
        for out in (self.folder, self.folder / "absent" / "x.npy"):
            with self.subTest(out=out):
                self.refused("--out", out, parts=[str(out)])


class Interruption(LogitsTest):
    def writes(self, process):
        """Whether the process has a file in the test's folder that has not its name yet."""
        links = []
        with contextlib.suppress(OSError):  # it ends, or closes one, at any time
            for link in pathlib.Path(f"/proc/{process.pid}/fd").iterdir():
                links.append(os.readlink(link))
        return any(link.startswith(str(self.folder)) and link.endswith((".tmp", " (deleted)")) for link in links)

    def test_a_stopped_run_leaves_no_torn_file(self):
        tokens = self.file("many.json", json.dumps(TOKENS * 1000))
        for number, exit_code in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
            with self.subTest(signal=number):
                out = self.folder / "logits.npy"
                process = self.start("logits", "--model", MODEL, "--tokens", tokens, "--out", out,
                                     stdout=subprocess.PIPE, stderr=subprocess.PIPE)
                while process.poll() is None and not self.writes(process):
                    time.sleep(0.01)
                process.send_signal(number)
                self.assertEqual(process.communicate(timeout=program.SECONDS), (b"", b""))
                self.assertEqual(process.returncode, exit_code)
                self.assertEqual(list(self.folder.glob("logits.npy*")), [])


if __name__ == "__main__":
    program.main()
