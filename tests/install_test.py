#!/usr/bin/env python3
"""Installs a build into a folder of its own and runs the program from there.

    install_test.py CMAKE BUILD        CMAKE is the command, BUILD the folder of a build that is complete
"""
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

CMAKE, BUILD = sys.argv[1], pathlib.Path(sys.argv[2]).resolve()
DOCUMENTS = ("README.md", "LICENSE", "CHANGELOG.md", "CITATION.cff", "docs/passkey.md", "docs/passkey-moba.svg")
SHARED = ("one-node.sh", "cluster.sh", "hostfile", "slurm.sbatch", "serve.sh", "grafana/longreach.json", "demo/config.json",
          "demo/rwkv-x-tiny.pth")
SECONDS = 60


class InstallTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.prefix = pathlib.Path(folder.name) / "prefix"
        environment = {name: value for name, value in os.environ.items() if name != "DESTDIR"}
        self.run_in_prefix(CMAKE, "--install", BUILD, "--prefix", self.prefix, cwd=folder.name, env=environment)

    def run_in_prefix(self, *command, **options):
        """Standard output of a command that must succeed, run in the folder that was installed into."""
        done = subprocess.run([*map(str, command)], stdin=subprocess.DEVNULL, capture_output=True, timeout=SECONDS,
                              check=False, **{"cwd": self.prefix, **options})
        self.assertEqual(done.returncode, 0, done.stderr.decode(errors="replace"))
        return done.stdout

    def test_documents_and_launch_files_are_there(self):
        for name in DOCUMENTS:
            self.assertTrue((self.prefix / "share/doc/longreach" / name).is_file(), name)
        for name in SHARED:
            self.assertTrue((self.prefix / "share/longreach" / name).is_file(), name)
        self.assertTrue(os.access(self.prefix / "share/longreach/one-node.sh", os.X_OK))

    def test_the_program_runs_with_the_installed_demo_model(self):
        self.assertIn(b"generate", self.run_in_prefix("bin/longreach", "--help"))
        lines = (self.prefix / "share/longreach/demo/prompts.jsonl").read_text().splitlines()
        sample = next(sample for sample in map(json.loads, lines) if sample["id"] == "passkey-512-1")
        answer = self.run_in_prefix("bin/longreach", "generate", "--model", "share/longreach/demo",
                                    "--prompt", sample["prompt"], "-n", 1, "--temperature", 0)
        self.assertEqual(answer, sample["expected"].encode()[:1])


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
