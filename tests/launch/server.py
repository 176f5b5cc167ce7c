"""What the tests of the server share: a running one, and requests to it."""
import contextlib
import http.client
import json
import socket
import time

import job
import program
from program import MODEL

NAME = "rwkv-x-tiny.pth"  # of the model, as the server has it


class Server:
    """A running server, and requests to it."""

    def __init__(self, process, log):
        self.process, self.log = process, log
        deadline = time.monotonic() + program.SECONDS
        while "listening on http://" not in log.read_text():
            if process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"does not listen: {log.read_text()}")
            time.sleep(0.02)
        url = log.read_text().split("listening on http://")[1].split()[0]
        self.host, port = url.rsplit(":", 1)
        self.port = int(port)

    def connect(self):
        return socket.create_connection((self.host, self.port), timeout=program.SECONDS)

    def open(self, method, path, body=None, **headers):
        """A connection, and the answer's head."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=program.SECONDS)
        text = body if body is None or isinstance(body, (bytes, str)) else json.dumps(body)
        connection.request(method, path, text, {name.replace("_", "-"): value for name, value in headers.items()})
        return connection, connection.getresponse()

    def ask(self, method, path, body=None, **headers):
        """Status and body, which must be JSON."""
        connection, answer = self.open(method, path, body, **headers)
        with contextlib.closing(connection):
            return answer.status, json.loads(answer.read())

    def post(self, path, **body):
        """The answer, which must be a good one."""
        status, answer = self.ask("POST", path, body)
        assert status == 200, (status, answer)
        return answer

    def complete(self, prompt, **fields):
        return self.post("/v1/completions", prompt=prompt, **fields)

    def text(self, prompt, **fields):
        return self.complete(prompt, **fields)["choices"][0]["text"]

    def stream(self, path, **body):
        """The objects of a stream, which must end as one."""
        connection, answer = self.open("POST", path, {**body, "stream": True})
        with contextlib.closing(connection):
            assert answer.status == 200 and answer.getheader("Content-Type") == "text/event-stream"
            events = [event for event in answer.read().decode().split("\n\n") if event and not event.startswith(":")]
        assert events.pop() == "data: [DONE]"
        return [json.loads(event.removeprefix("data: ")) for event in events]

    def metrics(self):
        """The lines that Prometheus reads."""
        connection, answer = self.open("GET", "/metrics")
        with contextlib.closing(connection):
            return answer.read().decode().splitlines()

    def metric(self, name):
        return sum(float(line.split()[-1]) for line in self.metrics() if line.startswith(f"longreach_{name}"))


class ServerTest(job.JobTest):
    """Runs servers; each ends with its test."""

    def serve(self, *options, n_ranks=1, **more):
        """A server with these options, and more for the process that one rank is."""
        log = self.folder / f"server-{len(list(self.folder.iterdir()))}.log"
        words = ["serve", "--model", MODEL, "--port", 0, "--threads", 1, *options]
        with log.open("wb") as stderr:
            if n_ranks == 1:
                process = self.start(*words, stderr=stderr, **more)
            else:
                process = self.start_job("-n", n_ranks, program.PROGRAM, *words, stderr=stderr)
        return Server(process, log)

    def wait_until(self, condition):
        end = time.monotonic() + program.SECONDS
        while not condition():
            self.assertLess(time.monotonic(), end, "it does not happen")
            time.sleep(0.01)
