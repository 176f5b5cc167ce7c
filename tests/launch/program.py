"""What the tests that run the program share. Their one argument is the program's path."""
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest
import zlib

MODEL = pathlib.Path(__file__).resolve().parents[2] / "configs/demo"
CHECKPOINT = MODEL / "rwkv-x-tiny.pth"
ALL_SKIPPED = 77  # the exit code by which CTest knows
SECONDS = 60  # nothing may hang; sanitizer builds are slow

PROGRAM = sys.argv[1] if len(sys.argv) > 1 else None


def question():
    """A short prompt whose greedy continuation is certain, and that continuation without the end token."""
    for line in (MODEL / "prompts.jsonl").read_text().splitlines():
        sample = json.loads(line)
        if sample["id"] == "passkey-512-1":
            return sample["prompt"].encode(), sample["expected"].encode().removesuffix(b"\0")
    raise LookupError("passkey-512-1")


def manifest_text(manifest):
    """That of a context which says this, with its checksum."""
    content = {name: value for name, value in manifest.items() if name != "crc32"}
    plain = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return json.dumps(content | {"crc32": zlib.crc32(plain.encode())})


def is_sanitized():
    """Whether the program is built with the address sanitizer."""
    return b"__asan_init" in pathlib.Path(PROGRAM).read_bytes()


class ProgramTest(unittest.TestCase):
    """Runs the program; every call ends within SECONDS."""

    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)

    def file(self, name, content):
        """A file in the test's own folder."""
        path = self.folder / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    def run_program(self, *args, stdin=b"", **options):
        return subprocess.run([PROGRAM, *map(str, args)], input=stdin, capture_output=True,
                              timeout=SECONDS, check=False, **options)

    def output(self, *args, **options):
        """Standard output of a run that must succeed."""
        done = self.run_program(*args, **options)
        self.assertEqual(done.returncode, 0, done.stderr.decode(errors="replace"))
        return done.stdout

    def start(self, *args, **options):
        """A process that is ended, if it has not by itself, when the test is over."""
        process = subprocess.Popen([PROGRAM, *map(str, args)], **options)

        def end():
            process.kill()
            process.communicate()
        self.addCleanup(end)
        return process

    def assert_one_sentence(self, done, *parts):
        """Exit code 2, one line on standard error that holds the parts, nothing on standard output."""
        message = done.stderr.decode(errors="replace")
        self.assertEqual(done.returncode, 2, message)
        self.assertEqual(done.stdout, b"")
        self.assertRegex(message, r"\Alongreach: [^\n]+\n\Z")
        for part in parts:
            self.assertIn(part, message)

    def assert_refused(self, args, *parts, **options):
        self.assert_one_sentence(self.run_program(*args, **options), *parts)


def main():
    if PROGRAM is None:
        sys.exit(f"usage: {sys.argv[0]} PROGRAM [unittest's own arguments]")
    del sys.argv[1]
    result = unittest.main(exit=False).result
    if result.wasSuccessful() and len(result.skipped) > 0 and len(result.skipped) >= result.testsRun:
        sys.exit(ALL_SKIPPED)
    sys.exit(not result.wasSuccessful())
