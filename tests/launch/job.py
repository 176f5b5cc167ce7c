"""What the tests that run the program on several ranks share."""
import os
import pathlib
import re
import select
import shlex
import signal
import subprocess
import time

import program

# On this machine ranks have no core each: none may hold one while it waits. The MPI library frees less than it takes.
ENVIRONMENT = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
               "OMPI_MCA_mpi_yield_when_idle": "1", "ASAN_OPTIONS": "detect_leaks=0"}
LAUNCHER = ["mpirun", "--oversubscribe", "--bind-to", "none"]


def ranks_of(launcher):
    """Process ids by rank, of all processes that a launcher (or its daemons) has as descendants."""
    found = {}
    parents = {}
    for folder in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            parents[int(folder.name)] = int(re.search(r"^PPid:\s*(\d+)", (folder / "status").read_text(), re.M)[1])
            rank = re.search(rb"(?:^|\0)OMPI_COMM_WORLD_RANK=(\d+)\0", (folder / "environ").read_bytes())
        except OSError:
            continue  # it has ended
        if rank:
            found[int(folder.name)] = int(rank[1])

    def descends(pid):
        while pid in parents and pid != launcher:
            pid = parents[pid]
        return pid == launcher
    return {rank: pid for pid, rank in found.items() if descends(pid)}


class JobTest(program.ProgramTest):
    """Runs jobs of several ranks; each ends within program.SECONDS, or is ended."""

    def start_job(self, *words, enter=(), **options):
        """mpirun with these arguments; `enter` are the words before it that take it elsewhere."""
        options = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
        job = subprocess.Popen([*map(str, (*enter, *LAUNCHER, *words))],  # pylint: disable=consider-using-with
                               env={**os.environ, **ENVIRONMENT}, **options)
        self.addCleanup(self.end_job, job)
        return job

    @staticmethod
    def end_job(job):
        """mpirun ends its ranks when it is asked to end; killed, it leaves them."""
        if job.poll() is None:
            job.terminate()
            try:
                job.wait(timeout=10)
            except subprocess.TimeoutExpired:
                for pid in (*ranks_of(job.pid).values(), job.pid):
                    os.kill(pid, signal.SIGKILL)
        job.communicate()

    def finish(self, job, stdin=b""):
        """The job's result once it has ended by itself."""
        try:
            stdout, stderr = job.communicate(stdin, timeout=program.SECONDS)
        except subprocess.TimeoutExpired:
            self.fail("the job hangs")
        return subprocess.CompletedProcess(job.args, job.returncode, stdout, stderr)

    def run_job(self, *words, stdin=b"", **options):
        return self.finish(self.start_job(*words, **options), stdin)

    def one_differs(self, rank, own, others):
        """A command that runs `own` on a rank and `others` on the others."""
        lines = ["#!/bin/sh", f'[ "$OMPI_COMM_WORLD_RANK" != {rank} ] || exec {shlex.join(map(str, own))}',
                 f"exec {shlex.join(map(str, others))}"]
        script = self.file("one_differs", "\n".join(lines) + "\n")
        script.chmod(0o755)
        return script

    def run_ranks(self, n_ranks, *command, **options):
        """The program on so many ranks."""
        return self.run_job("-n", n_ranks, program.PROGRAM, *command, **options)

    def generate(self, model, *options):
        return [program.PROGRAM, "generate", "--model", model, "--prompt", "x", "--threads", 1, *options]

    def long_run(self):
        """A command that writes for longer than any test may take."""
        return self.generate(program.MODEL, "-n", 1000000, "--temperature", 0, "--ban-token", 0)

    def start_writing(self, *words, **options):
        """A job that has begun to write, and its process ids by rank."""
        running = self.start_job(*words, **options)
        readable, _, _ = select.select([running.stdout], [], [], program.SECONDS)
        self.assertTrue(readable and running.stdout.read(1), "the job writes nothing")
        return running, ranks_of(running.pid)

    def reports(self, done):
        """The lines that the program, not mpirun, wrote to standard error."""
        return [line for line in done.stderr.decode(errors="replace").splitlines() if "longreach: " in line]

    def assert_reported_once(self, done, pattern):
        """Exit code 2, one sentence from all ranks together, nothing on standard output."""
        self.assertEqual(done.returncode, 2, done.stderr)
        self.assertEqual(done.stdout, b"")
        self.assertEqual(len(self.reports(done)), 1, done.stderr)
        self.assertRegex(self.reports(done)[0], r"\Alongreach: " + pattern + r"\Z")

    def assert_gone(self, pids):
        """mpirun has waited for its own; nobody inherits a rank."""
        for _ in range(10 * program.SECONDS):
            left = [pid for pid in pids if os.path.exists(f"/proc/{pid}")]
            if not left:
                return
            time.sleep(0.1)
        self.fail(f"processes {left} are left")
