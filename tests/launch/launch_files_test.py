#!/usr/bin/env python3
"""The launch files in configs/, as far as one machine can tell: what they start answers like one rank."""
import contextlib
import json
import os
import pathlib
import subprocess

import job
import program
from program import MODEL
from server import Server

CONFIGS = pathlib.Path(program.__file__).resolve().parents[2] / "configs"
OPTIONS = ("-n", 4, "--temperature", 0)


class LaunchFiles(program.ProgramTest):
    @staticmethod
    def environment(folders):
        """Of launch files; `folders` hold programs in place of the system's."""
        return {**os.environ, **job.ENVIRONMENT, "LONGREACH": program.PROGRAM,
                "PATH": ":".join([*map(str, folders), os.environ["PATH"]])}

    def run_file(self, name, *args, folders=()):
        return subprocess.run(["bash", CONFIGS / name, *map(str, args)], env=self.environment(folders), capture_output=True,
                              timeout=program.SECONDS, check=False, stdin=subprocess.DEVNULL)

    def assert_answers(self, name, *args, **options):
        prompt = self.file("prompt.txt", "The grass is")
        done = self.run_file(name, *args, MODEL, prompt, *OPTIONS, **options)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(done.stdout, self.output("generate", "--model", MODEL, "--prompt-file", prompt, *OPTIONS))
        return done.stderr.decode()

    def test_one_node(self):
        self.assertIn("rank 0 on ", self.assert_answers("one-node.sh"))

    def test_cluster(self):
        self.assertIn("ranks 1 = ", self.assert_answers("cluster.sh", CONFIGS / "hostfile"))
        self.assertIn("ranks 2 = ", self.assert_answers("cluster.sh", self.file("hosts", "localhost slots=2\n")))

    def assert_continues(self, name, folders=()):
        prompts = self.file("prompts.jsonl", '{"prompt": "The grass is"}\n{"prompt": "The sky"}\n')
        results = self.folder / "results.jsonl"
        done = self.run_file(name, MODEL, prompts, results, *OPTIONS, folders=folders)
        self.assertEqual(done.returncode, 0, done.stderr)
        texts = [json.loads(line)["text"] for line in results.read_text().splitlines()]
        alone = self.output("generate", "--model", MODEL, "--prompt", "The grass is", *OPTIONS).decode()
        self.assertEqual((len(texts), texts[0]), (2, alone))

    def test_prompts(self):
        self.assert_continues("prompts.sh")

    def test_prompts_by_slurm(self):
        self.add_srun()
        self.assert_continues("prompts.sbatch", folders=[self.folder])

    def add_srun(self):
        """In place of srun: drops its options and starts one rank."""
        srun = self.file("srun", '#!/bin/bash\nwhile [[ $1 == --* ]]; do shift; done\nexec "$@"\n')
        srun.chmod(0o755)

    def test_slurm(self):
        self.add_srun()
        self.assertIn("ranks 1 = ", self.assert_answers("slurm.sbatch", folders=[self.folder]))

    def start_serving(self, name, folders):
        log = self.folder / "server.log"
        with log.open("wb") as stderr:
            process = subprocess.Popen(["bash", CONFIGS / name, MODEL, "--port", "0", "--threads", "1"],  # pylint: disable=consider-using-with
                                       env=self.environment(folders), stdin=subprocess.DEVNULL, stderr=stderr)

        def end():
            for _ in range(2):
                if process.poll() is None:
                    process.terminate()
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        process.wait(10)
            process.kill()
            process.wait()
        self.addCleanup(end)
        return Server(process, log)

    def assert_serves(self, name, folders=()):
        """Answers like one rank, and finishes what runs when a signal comes."""
        server = self.start_serving(name, folders)
        self.assertEqual(server.text("The grass is", max_tokens=4, temperature=0).encode(),
                         self.output("generate", "--model", MODEL, "--prompt", "The grass is", *OPTIONS))
        connection, answer = server.open("POST", "/v1/completions", {
            "prompt": "The", "max_tokens": 4000, "stream": True, "ignore_eos": True})
        with contextlib.closing(connection):
            answer.readline()
            server.process.terminate()
            self.assertTrue(answer.read().endswith(b"data: [DONE]\n\n"))
        self.assertEqual(server.process.wait(program.SECONDS), 143)
        self.assertIn("rank 0 on ", server.log.read_text())

    def test_serve(self):
        self.assert_serves("serve.sh")

    def test_serve_by_slurm(self):
        self.add_srun()
        self.assert_serves("serve.sbatch", folders=[self.folder])

    def test_too_few_arguments(self):
        for name in ("one-node.sh", "cluster.sh", "slurm.sbatch", "serve.sh", "serve.sbatch"):
            done = self.run_file(name)
            self.assertEqual(done.returncode, 2)
            self.assertIn(b"usage: ", done.stderr)


if __name__ == "__main__":
    program.main()
