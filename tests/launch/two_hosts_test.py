#!/usr/bin/env python3
"""A job over TCP between two hosts: two network namespaces of this machine with a cable between them.

Where no namespaces can be made (not root, or in a container that forbids it) the tests skip themselves.
"""
import os
import pathlib
import shlex
import signal
import subprocess
import unittest

import job
import program
from program import MODEL

NAMES = ("longreach-a", "longreach-b")
ADDRESSES = ("10.83.7.1", "10.83.7.2")
NETWORK = "10.83.7.0/24"


class Hosts:
    """Two hosts with names, addresses and mounts of their own, the second with processes of its own, so that they share no memory. They last as long as their first processes."""

    def __init__(self):
        self.processes, self.pids = [], []
        try:
            self.processes.append(self.start(NAMES[0]))
            self.processes.append(self.start(NAMES[1], "--pid", "--fork", "--mount-proc"))
            children = f"/proc/{self.processes[1].pid}/task/{self.processes[1].pid}/children"
            self.pids = [self.processes[0].pid, int(pathlib.Path(children).read_text())]
            self.run(0, "ip link add cable-a type veth peer name cable-b")
            self.run(0, f"ip link set cable-b netns {self.pids[1]}")
            for host, cable in enumerate(("cable-a", "cable-b")):
                self.run(host, f"ip address add {ADDRESSES[host]}/24 dev {cable}")
                self.run(host, f"ip link set {cable} up")
                self.run(host, "ip link set lo up")
        except BaseException:
            self.end()
            raise

    @staticmethod
    def start(name, *more):
        process = subprocess.Popen(  # pylint: disable=consider-using-with
            ["unshare", "--net", "--uts", "--mount", *more, "sh", "-c", f"hostname {name} && echo ready && cat; true"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        if process.stdout.readline() != b"ready\n":
            process.kill()
            raise OSError(process.communicate()[1].decode().strip())
        return process

    def enter(self, host):
        """The words that run a command on a host."""
        words = ["nsenter", "-t", str(self.pids[host]), "--net", "--uts", "--mount"]
        return [*words, "--pid", "--"] if host == 1 else [*words, "--"]

    def run(self, host, command):
        done = subprocess.run([*self.enter(host), *command.split()], capture_output=True, check=False,
                              timeout=program.SECONDS)
        if done.returncode != 0:
            raise OSError(f"{command}: {done.stderr.decode().strip()}")

    def end(self):
        for pid in self.pids[1:]:  # the first of its processes takes all others with it
            os.kill(pid, signal.SIGKILL)
        for process in self.processes:
            process.kill()
            process.communicate()


class TwoHosts(job.JobTest):
    @classmethod
    def setUpClass(cls):
        try:
            cls.hosts = Hosts()
        except OSError as error:
            raise unittest.SkipTest(f"no network namespaces: {error}") from error
        cls.addClassCleanup(cls.hosts.end)

    def on_hosts(self):
        """mpirun's arguments for ranks of even number on the first host, where it runs itself, and the others on the
        second."""
        # In place of ssh: the arguments are a host and the words of a shell command.
        agent = self.file("agent", f'#!/bin/sh\nshift\nexec {shlex.join(self.hosts.enter(1))} sh -c "$*"\n')
        agent.chmod(0o755)
        return ["--map-by", "node", "--host", ",".join(f"{address}:8" for address in ADDRESSES),
                "--mca", "plm", "rsh", "--mca", "plm_rsh_agent", agent, "--mca", "oob_tcp_if_include", NETWORK,
                "--mca", "btl", "tcp,self", "--mca", "btl_tcp_if_include", NETWORK]

    def run_on_hosts(self, *words):
        return self.run_job(*self.on_hosts(), *words, enter=self.hosts.enter(0))

    def test_the_messages_of_all_kinds(self):
        tests = pathlib.Path(program.PROGRAM).parent / "tests/dist_mpi_tests"
        if not tests.exists():
            self.skipTest(f"no {tests}")
        done = self.run_on_hosts("-n", 4, tests)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_the_logits_are_those_of_one_rank(self):
        tokens = self.file("tokens.txt", " ".join(str(7 * i % 101) for i in range(300)))
        logits = ["logits", "--model", MODEL, "--tokens", tokens, "--threads", 1, "--hash"]
        expected = self.output(*logits)
        for n_stages, n_shards in ((2, 1), (1, 2), (2, 2)):
            for way in ("ship", "gather"):
                with self.subTest(stages=n_stages, shards=n_shards, exchange=way):
                    done = self.run_on_hosts("-n", n_stages * n_shards, program.PROGRAM, *logits, "--stages", n_stages,
                                             "--shards", n_shards, "--exchange", way)
                    self.assertEqual((done.returncode, done.stdout), (0, expected), done.stderr)

    def test_contexts_in_one_folder_and_in_a_folder_for_each_host(self):
        text = b"The grass is green. The sky is blue. " * 12
        tokens = self.file("tokens", " ".join(str(byte) for byte in b" is yellow"))
        self.file("text", text.decode())

        def last_logits(context):
            return ["logits", "--model", MODEL, "--context", context, "--tokens", tokens, "--threads", 1, "--hash"]
        alone = self.folder / "alone.ctx"
        reading = ["read", "--model", MODEL, "--file", self.folder / "text", "--states-every", 100, "--threads", 1, "--save"]
        self.output(*reading, alone)
        expected = self.output(*last_logits(alone))
        own = self.folder / "own"
        own.mkdir()
        for host in (0, 1):
            self.hosts.run(host, f"mount -t tmpfs none {own}")
        for grid in ((2, 1), (1, 2)):
            options = ["--stages", grid[0], "--shards", grid[1]]
            for place in ("shared", "own"):
                with self.subTest(grid=grid, place=place):
                    context = (own if place == "own" else self.folder) / f"{place}{grid[0]}.ctx"
                    done = self.run_on_hosts("-n", 2, program.PROGRAM, *reading, context, *options)
                    self.assertEqual(done.returncode, 0, done.stderr)
                    done = self.run_on_hosts("-n", 2, program.PROGRAM, *last_logits(context), *options)
                    self.assertEqual((done.returncode, done.stdout), (0, expected), done.stderr)
                    if place == "shared":
                        self.assertEqual(self.output(*last_logits(context)), expected)
        done = self.run_on_hosts("-n", 2, program.PROGRAM, *last_logits(own / "own2.ctx"), "--stages", 1, "--shards", 2)
        self.assertEqual(done.returncode, 2, done.stdout)
        self.assertIn(b"own2.ctx", done.stderr)

    def test_a_rank_that_cannot_open_the_model(self):
        command = self.one_differs(1, self.generate(self.folder / "none"), self.generate(MODEL))
        done = self.run_on_hosts("-n", 3, command)
        self.assert_reported_once(done, f"rank 1 on {NAMES[1]}: .*none: cannot be opened: .*")

    def test_a_killed_rank_ends_the_job(self):
        for rank in (0, 1):
            with self.subTest(rank=rank):
                running, ranks = self.start_writing(*self.on_hosts(), "-n", 2, *self.long_run(),
                                                    enter=self.hosts.enter(0))
                os.kill(ranks[rank], signal.SIGKILL)
                done = self.finish(running)
                self.assertNotEqual(done.returncode, 0)
                self.assertRegex(done.stderr.decode(), rf"rank {rank} .*exited on signal 9")
                self.assert_gone(ranks.values())


if __name__ == "__main__":
    program.main()
