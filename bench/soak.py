#!/usr/bin/env python3
"""Asks a server all kinds of things for a long time, and looks whether its answers and its memory stay as they are.

    bench/soak.py [--program P] [--model M] [--minutes N] [--clients N] [--seed N] [--folder DIR] [-- OPTION OF serve...]

Starts `longreach serve` with contexts in DIR. Every kind of request is asked alone first; then N clients draw kinds at random, leave in the middle of
every fourth answer, and compare the others with those. Others post texts and delete them. Prints a JSON line every half minute and one at the end;
fails if an answer differs, a request is refused, or the server ends. The memory is to be judged by the lines: rss_mb of its process, of which caches
and prefixes may grow to what the plan leaves.
"""
import argparse
import http.client
import json
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time

WORDS = "the a grass sky sun is was green blue yellow here there we go back again and of pass key remember it".split()


class Server:
    def __init__(self, options, folder):
        log = folder / "log"
        with log.open("wb") as stderr:
            self.process = subprocess.Popen(
                [options.program, "serve", "--model", options.model, "--port", "0", "--contexts", folder / "contexts",
                 *options.serve], stderr=stderr, stdin=subprocess.DEVNULL)
        while "listening on http://" not in log.read_text():
            if self.process.poll() is not None:
                sys.exit(log.read_text())
            time.sleep(0.1)
        self.address = log.read_text().split("listening on http://")[1].split()[0]

    def open(self, method, path, body=None):
        connection = http.client.HTTPConnection(self.address, timeout=600)
        connection.request(method, path, json.dumps(body) if body is not None else None)
        return connection, connection.getresponse()

    def ask(self, method, path, body=None):
        connection, answer = self.open(method, path, body)
        try:
            text = answer.read().decode()
            if answer.status != 200:
                raise RuntimeError(f"{method} {path}: {answer.status}: {text[:300]}")
            return text
        finally:
            connection.close()

    def metrics(self):
        found = {}
        for line in self.ask("GET", "/metrics").splitlines():
            name, value = line.rsplit(" ", 1)
            if not name.startswith("#"):
                found[name.removeprefix("longreach_")] = float(value)
        return found

    def resident_mb(self):
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) / 1024


def text_of(source, n_bytes):
    words = []
    while sum(map(len, words)) + len(words) < n_bytes:
        words.append(source.choice(WORDS))
    return " ".join(words)[:n_bytes]


def kinds_of_requests(source):
    """Requests of all sorts; some begin alike."""
    begins = [text_of(source, n) for n in (50, 800, 5000, 20000)]
    kinds = []
    for i in range(40):
        prompt = source.choice(begins) + text_of(source, source.choice([3, 40, 300, 2000]))
        kind = {"prompt": prompt, "max_tokens": source.choice([0, 1, 8, 40, 120]), "temperature": source.choice([0, 0, 0.7, 1.3]), "seed": i}
        if i % 5 == 1:
            kind |= {"logprobs": 3}
        if i % 10 == 2:
            kind |= {"logprobs": 0, "echo": True, "prompt": prompt[:1500]}
        if i % 7 == 3:
            kind |= {"n": 3}
        if i % 6 == 4:
            kind |= {"stop": [" the", "e a"]}
        if i % 9 == 5:
            kind |= {"longreach": {"evidence": True}}
        kinds.append(kind)
    return kinds


def answer_of(text):
    """What must be the same each time."""
    return json.loads(text)["choices"]


class Clients:
    def __init__(self, server, kinds, expected, options):
        self.server, self.kinds, self.expected, self.options = server, kinds, expected, options
        self.lock = threading.Lock()
        self.end = time.monotonic() + 60 * options.minutes
        self.counts = dict.fromkeys(["answered", "left", "texts", "deleted"], 0)
        self.faults = []

    def note(self, what):
        with self.lock:
            self.counts[what] += 1

    def run(self, work, number):
        source = random.Random(f"{self.options.seed} {work.__name__} {number}")
        while time.monotonic() < self.end and not self.faults:
            try:
                work(source)
            except Exception as error:  # whatever it is, the run has failed
                with self.lock:
                    self.faults.append(f"{type(error).__name__}: {error}")

    def ask(self, source):
        i = source.randrange(len(self.kinds))
        if source.random() < 0.25:
            connection, answer = self.server.open("POST", "/v1/completions", {**self.kinds[i], "stream": True})
            answer.read(source.choice([1, 100, 2000]))
            time.sleep(source.random() * 0.2)
            connection.close()
            return self.note("left")
        found = answer_of(self.server.ask("POST", "/v1/completions", self.kinds[i]))
        if found != self.expected[i]:
            raise AssertionError(f"another answer to {json.dumps(self.kinds[i])[:200]}: {found} and not {self.expected[i]}")
        self.note("answered")

    def post(self, source):
        text = text_of(source, source.choice([500, 10000, 40000]))
        made = json.loads(self.server.ask("POST", "/v1/contexts", {"text": text}))
        self.note("texts")
        time.sleep(source.random() * 5)
        self.server.ask("DELETE", f"/v1/contexts/{made['id']}")
        self.note("deleted")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default="build/release/longreach")
    parser.add_argument("--model", default="configs/demo")
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--clients", type=int, default=12)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=pathlib.Path, default=pathlib.Path("."))
    parser.add_argument("serve", nargs="*", help="options of the server")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        server = Server(options, pathlib.Path(folder))
        try:
            kinds = kinds_of_requests(random.Random(options.seed))
            expected = [answer_of(server.ask("POST", "/v1/completions", kind)) for kind in kinds]
            clients = Clients(server, kinds, expected, options)
            threads = [threading.Thread(target=clients.run, args=(work, number), daemon=True)
                       for work, n in ((clients.ask, options.clients), (clients.post, 1)) for number in range(n)]
            start = time.monotonic()
            for thread in threads:
                thread.start()

            def report(**more):
                if server.process.poll() is not None:
                    sys.exit(f"the server ended with code {server.process.returncode}; {clients.counts}")
                metrics = server.metrics()
                print(json.dumps({"minutes": round((time.monotonic() - start) / 60, 1), "rss_mb": round(server.resident_mb(), 1),
                                  "running": metrics["requests_running"], "waiting": metrics["requests_waiting"],
                                  **clients.counts, **more}), flush=True)
            while time.monotonic() < clients.end and not clients.faults:
                time.sleep(min(30, max(0, clients.end - time.monotonic())))
                report()
            for thread in threads:
                thread.join(600)
            time.sleep(2)
            report(faults=clients.faults)
            server.process.send_signal(signal.SIGTERM)
            ended = server.process.wait(600)
            return 1 if clients.faults or ended != 143 else 0
        finally:
            server.process.kill()


if __name__ == "__main__":
    sys.exit(main())
