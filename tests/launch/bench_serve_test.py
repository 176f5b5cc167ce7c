#!/usr/bin/env python3
"""The command bench serve: it asks what its options say, and what it prints fits together. Nothing is timed here."""
import contextlib
import http.server
import json
import signal
import socket
import socketserver
import subprocess
import threading

import program
from server import NAME, ServerTest

TIMES = ("ttft", "tpot", "itl", "e2el")


def event(data):
    return f"data: {data if isinstance(data, str) else json.dumps(data)}\n\n".encode()


def chunk(text, finish_reason=None):
    return event({"choices": [{"index": 0, "text": text, "finish_reason": finish_reason}]})


def usage(n_prompt, n_generated):
    return event({"choices": [], "usage": {"prompt_tokens": n_prompt, "completion_tokens": n_generated}})


DONE = event("[DONE]")


class OtherServer(http.server.ThreadingHTTPServer):
    """Stands for servers of other programs: `answers` give status and body of each request in turn, the last one again and
    again. A body of None: no answer comes."""
    daemon_threads = True

    def __init__(self, answers, paths):
        super().__init__(("127.0.0.1", 0), OtherHandler)
        self.answers, self.paths = list(answers), paths
        self.requests, self.lock, self.is_over = [], threading.Lock(), threading.Event()

    def answer(self, body, headers):
        with self.lock:
            self.requests.append((json.loads(body), headers))
            return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


class OtherHandler(http.server.BaseHTTPRequestHandler):
    def reply(self, status, body):
        self.send_response(status)
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):  # pylint: disable=invalid-name
        found = self.server.paths.get(self.path)
        self.reply(*((200, json.dumps(found).encode()) if found is not None else (404, b"not here")))

    def do_POST(self):  # pylint: disable=invalid-name
        body = self.rfile.read(int(self.headers["Content-Length"]))
        status, answer = self.server.answer(body, self.headers) if self.path == "/v1/completions" else (404, b"")
        if answer is None:
            self.server.is_over.wait(program.SECONDS)
            return
        self.reply(status, answer)

    def log_message(self, *_):
        pass


class BenchServe(ServerTest):
    def other(self, *answers, paths=None):
        """A server that gives these answers; its URL and itself."""
        server = OtherServer(answers, {"/tokenizer_info": {"vocab_size": 256}} if paths is None else paths)
        return self.run_server(server), server

    def run_server(self, server):
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()

        def end():
            if isinstance(server, OtherServer):
                server.is_over.set()
            server.shutdown()
            server.server_close()
            thread.join()
        self.addCleanup(end)
        return f"http://127.0.0.1:{server.server_address[1]}"

    @staticmethod
    def url(server):
        return f"http://{server.host}:{server.port}"

    @staticmethod
    def command(url, *args, n=4, read=5, write=3):
        return ["bench", "serve", "--url", url, "--num-prompts", n, "--random-input-len", read, "--random-output-len", write,
                "--json", *args]

    def bench(self, url, *args, **sizes):
        """The result of a run that must succeed in every way."""
        done = self.run_program(*self.command(url, *args, **sizes))
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        return self.checked(done.stdout)

    def checked(self, output):
        """The object, checked for what belongs together."""
        line, = output.decode().splitlines()
        result = json.loads(line)
        self.assertEqual(result["question"], "serve")
        self.assertLessEqual(result["completed"] + result["failed"] + result["abandoned"], result["num_prompts"])
        seconds = result["duration"]
        self.assertGreater(seconds, 0)
        n_read, n_written = result["total_input_tokens"], result["total_output_tokens"]
        for name, n in (("request", result["completed"]), ("output", n_written), ("total_token", n_read + n_written)):
            self.assertAlmostEqual(result[f"{name}_throughput"] * seconds, n, delta=1e-6 * max(n, 1))
        for name in TIMES:
            mean, median, std, p50, p99 = (result[f"{statistic}_{name}_ms"] for statistic in ("mean", "median", "std", "p50", "p99"))
            self.assertEqual(p50, median)
            if mean is None:
                self.assertEqual((median, std, p99), (None, None, None))
                continue
            self.assertLessEqual(0, std)
            self.assertLessEqual(median, p99)
            self.assertLessEqual(mean, 1e3 * seconds)
            if name in ("ttft", "e2el"):  # chunks may come at once
                self.assertLess(0, median)
        if result["completed"] > 0:
            self.assertLessEqual(result["mean_ttft_ms"], result["mean_e2el_ms"])
        else:
            self.assertEqual([result[f"mean_{name}_ms"] for name in TIMES], [None] * len(TIMES))
        return result

    def test_clients_that_ask_again_when_they_are_answered(self):
        # The server refuses more than four at once, but counts a request for a moment longer than its client.
        server = self.serve("--parallel", 1, "--max-waiting", 3)
        result = self.bench(self.url(server), "--max-concurrency", 2, n=12, read=20, write=8)
        self.assertEqual((result["completed"], result["failed"], result["abandoned"]), (12, 0, 0))
        self.assertEqual((result["max_concurrency"], result["request_rate"]), (2, "inf"))
        self.assertEqual((result["total_input_tokens"], result["total_output_tokens"]), (12 * 20, 12 * 8))
        self.assertEqual(server.metric("prompt_tokens_total"), 12 * 20)
        self.assertEqual(server.metric("generation_tokens_total"), 12 * 8)
        self.assertEqual(result["model_id"], NAME)
        self.assertAlmostEqual(result["mean_e2el_ms"], result["mean_ttft_ms"] + 7 * result["mean_tpot_ms"], places=6)

    def test_clients_that_come_at_random_times(self):
        server = self.serve()
        result = self.bench(self.url(server), "--request-rate", 200, n=40, read=20, write=8)
        self.assertEqual((result["completed"], result["failed"]), (40, 0))
        self.assertEqual((result["max_concurrency"], result["request_rate"]), (None, 200))
        # The seed decides when the last one comes, at about 39 / 200.
        self.assertGreater(result["duration"], 39 / 200 / 2)
        self.assertEqual(result["total_output_tokens"], server.metric("generation_tokens_total"))
        both = self.bench(self.url(server), "--request-rate", 1000, "--max-concurrency", 1, "--seed", 1, n=10)
        self.assertEqual((both["completed"], both["max_concurrency"], both["request_rate"]), (10, 1, 1000))

    def test_prompts_with_a_common_prefix(self):
        server = self.serve()
        distinct = self.bench(self.url(server), "--max-concurrency", 1, n=4, read=310)
        self.assertEqual(distinct["total_input_tokens"], 4 * 310)
        self.assertLess(server.metric("cached_tokens_total"), 4 * 5)
        shared = self.bench(self.url(server), "--max-concurrency", 1, "--random-prefix-len", 300, "--seed", 1, n=4, read=10)
        self.assertEqual(shared["total_input_tokens"], 4 * 310)
        self.assertGreaterEqual(server.metric("cached_tokens_total"), 300)

    def test_requests_are_what_was_asked_for(self):
        url, server = self.other((200, chunk("a") + chunk("b") + chunk("", "length") + usage(7, 2) + DONE),
                                 paths={"/v1/models": {"data": [{"id": "theirs"}]}})
        key = self.file("keys", "first\nsecond\n")
        args = ("--random-prefix-len", 6, "--vocab-size", 4, "--served-model-name", "mine", "--api-key-file", key, "--max-concurrency", 2)
        result = self.bench(url, *args, n=5, read=9, write=2)
        # The server counts, whatever it was asked.
        self.assertEqual((result["total_input_tokens"], result["total_output_tokens"]), (5 * 7, 5 * 2))
        self.assertEqual(result["model_id"], "mine")
        prompts = [tuple(body.pop("prompt")) for body, _ in server.requests]
        for body, headers in server.requests:
            self.assertEqual(body, {"model": "mine", "max_tokens": 2, "temperature": 0, "ignore_eos": True, "stream": True,
                                    "stream_options": {"include_usage": True}})
            self.assertEqual(headers["Authorization"], "Bearer first")
        self.assertEqual({len(prompt) for prompt in prompts}, {15})
        self.assertEqual({token for prompt in prompts for token in prompt}, {1, 2, 3})
        self.assertEqual(len({prompt[:6] for prompt in prompts}), 1)
        self.assertEqual(len({prompt[6:] for prompt in prompts}), 5)
        self.bench(url, *args, n=5, read=9, write=2)
        again = [tuple(body["prompt"]) for body, _ in server.requests[5:]]
        self.assertEqual(set(again), set(prompts))
        self.bench(url, *args, "--seed", 1, n=5, read=9, write=2)
        self.assertFalse({tuple(body["prompt"]) for body, _ in server.requests[10:]} & set(prompts))
        unnamed = self.bench(url, "--vocab-size", 4)
        self.assertEqual(unnamed["model_id"], "theirs")
        self.assertNotIn("model", server.requests[-1][0])
        self.assertNotIn("Authorization", server.requests[-1][1])

    def test_an_answer_of_one_token(self):
        result = self.bench(self.url(self.serve()), write=1)
        self.assertEqual((result["completed"], result["mean_tpot_ms"], result["mean_itl_ms"]), (4, None, None))
        self.assertGreaterEqual(result["mean_e2el_ms"], result["mean_ttft_ms"])

    def test_clients_that_leave(self):
        server = self.serve("--context-length", 10_000)
        result = self.bench(self.url(server), "--abandon", 1, n=6, write=5000)
        self.assertEqual((result["completed"], result["failed"], result["abandoned"]), (0, 0, 6))
        self.assertEqual((result["total_input_tokens"], result["total_output_tokens"]), (0, 0))
        self.wait_until(lambda: server.metric("requests_running") == 0)
        self.assertLess(server.metric("generation_tokens_total"), 6 * 5000)
        result = self.bench(self.url(server), "--abandon", 0.5, "--seed", 2, n=16, write=20)
        self.assertEqual(result["completed"] + result["abandoned"], 16)
        self.assertGreater(result["abandoned"], 0)
        self.assertGreater(result["completed"], 0)
        self.assertEqual(result["total_output_tokens"], 20 * result["completed"])

    def test_a_table_for_people(self):
        words = [word for word in self.command(self.url(self.serve())) if word != "--json"]
        text = self.output(*words).decode()
        self.assertIn("4 of 4 requests completed", text)
        for name in TIMES:
            self.assertRegex(text, rf"\({name}\) +\d")

    def test_on_two_ranks_the_leader_asks(self):
        done = self.run_ranks(2, *self.command(self.url(self.serve())))
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(self.checked(done.stdout)["completed"], 4)

    def test_a_server_that_is_not_there(self):
        with socket.create_server(("127.0.0.1", 0)) as closed:
            port = closed.getsockname()[1]
        url = f"http://127.0.0.1:{port}"
        self.assert_refused(self.command(url, "--vocab-size", 256), url, "cannot connect")
        self.assert_refused(self.command("http://no.such.host.invalid"), "http://no.such.host.invalid")

    def test_a_server_that_needs_a_key(self):
        url = self.url(self.serve("--api-key-file", self.file("keys", "right\n")))
        self.assertEqual(self.bench(url, "--api-key-file", self.folder / "keys")["completed"], 4)
        self.assert_refused(self.command(url), url, "status 401", "API key")
        self.assert_refused(self.command(url, "--api-key-file", self.file("other", "wrong\n")), "status 401")
        self.assert_refused(self.command(url, "--api-key-file", self.file("odd", "x\x01\n")), "--api-key-file")

    def test_a_server_that_does_not_say_its_vocabulary(self):
        for info in ({}, [], 3, {"vocab_size": -1}, {"vocab_size": 1}, {"vocab_size": "256"}):
            url, server = self.other((500, b""), paths={"/tokenizer_info": info})
            self.assert_refused(self.command(url), "--vocab-size", "/tokenizer_info")
            self.assertEqual(server.requests, [])

    def test_failures_are_counted_and_the_first_one_reported(self):
        good = (200, chunk("a") + chunk("b", "length") + usage(5, 2) + DONE)
        url, _ = self.other(good, (429, b'{"error": {"message": "too\\nmany"}}'), good, (500, b"<html>"))
        done = self.run_program(*self.command(url, "--max-concurrency", 1, n=6))
        self.assertEqual(done.returncode, 0)
        result = self.checked(done.stdout)
        self.assertEqual((result["completed"], result["failed"]), (2, 4))
        self.assertEqual(done.stderr.decode(), f"longreach: {url}: 4 of 6 requests failed, the first one: status 429: too many\n")

    def test_where_nothing_is_answered_there_is_no_result(self):
        for answer, *parts in (((429, b'{"error": {"message": "too many"}}'), "status 429: too many"),
                               ((500, b"\xff\x00"), "status 500"),
                               ((503, b""), "status 503"),
                               ((200, b""), "[DONE]"),
                               ((200, b"<html>hello</html>"), "[DONE]"),
                               ((200, chunk("a")), "[DONE]"),
                               ((200, event("{")), "a chunk of the answer"),
                               ((200, event("[" * 1000)), "a chunk of the answer"),
                               ((200, chunk("a") + event({"error": {"message": "out of luck"}})), "out of luck"),
                               ((200, chunk("a") + DONE), "no usage"),
                               ((200, chunk("", "stop") + usage(3, 0) + DONE), "no token")):
            with self.subTest(answer=answer):
                url, _ = self.other(answer)
                self.assert_refused(self.command(url, n=3), url, "3 failed", *parts)

    def test_what_is_no_http_is_refused(self):
        class Handler(socketserver.BaseRequestHandler):
            def handle(self):
                with contextlib.suppress(OSError):
                    self.request.recv(100000)
                    self.request.sendall(self.server.answer)
        for answer in (b"", b"hello\r\n\r\n", b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000, b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n{"):
            with self.subTest(answer=answer[:50]):
                server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
                server.daemon_threads = True
                server.answer = answer
                url = self.run_server(server)
                self.assert_refused(self.command(url, "--vocab-size", 9), url)

    def test_ctrl_c_prints_what_was_measured(self):
        server = self.serve("--context-length", 5_000_000)
        process = self.start(*self.command(self.url(server), "--max-concurrency", 1, n=1_000_000),
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.wait_until(lambda: server.metric("requests_total") > 3)
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=program.SECONDS)
        self.assertEqual((process.returncode, stderr), (130, b""))
        result = self.checked(stdout)
        self.assertGreater(result["completed"], 2)
        self.assertEqual((result["failed"], result["num_prompts"]), (0, 1_000_000))
        self.wait_until(lambda: server.metric("requests_running") == 0)

    def test_ctrl_c_ends_waiting(self):
        url, server = self.other((200, None))
        process = self.start(*self.command(url), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.wait_until(lambda: len(server.requests) == 4)
        process.send_signal(signal.SIGTERM)
        stdout, stderr = process.communicate(timeout=program.SECONDS)
        self.assertEqual((process.returncode, stderr), (143, b""))
        self.assertEqual(self.checked(stdout)["completed"], 0)

    def test_refusals(self):
        url = "http://127.0.0.1:1"
        self.assert_refused(["bench", "serve"], "--url")
        for bad in ("127.0.0.1:8080", "https://host", "http://", "http://:80", "http://host:", "http://host:0", "http://host:65536",
                    "http://host:80x", "http://host/v1", "http://user@host", "http://[::1", "http://[::1]x", "http://a:b:c", "http://host?x"):
            with self.subTest(url=bad):
                self.assert_refused(self.command(bad), "--url")
        for option, values in {"--num-prompts": ("0", "x"), "--request-rate": ("0", "-1", "nan", "fast"), "--max-concurrency": ("0",),
                               "--random-input-len": ("0",), "--random-output-len": ("0",), "--random-prefix-len": ("-1",),
                               "--vocab-size": ("1", "1e3"), "--abandon": ("-0.1", "1.1", "nan"), "--seed": ("-1",)}.items():
            for value in values:
                with self.subTest(option=option, value=value):
                    self.assert_refused(["bench", "serve", "--url", url, option, value], option)
        self.assert_refused(self.command(url, "--abandon", 1, write=1), "--abandon", "--random-output-len")
        self.assert_refused(self.command(url, "--api-key-file", self.folder / "none"), "none")
        self.assert_refused(["bench", "serve", "--url", url, "--model", program.MODEL], "--model")

    def test_an_address_of_ipv6_and_a_slash_at_the_end(self):
        try:
            socket.create_server(("::1", 0), family=socket.AF_INET6).close()
        except OSError:
            self.skipTest("no IPv6 here")
        server = self.serve("--host", "::1")
        self.assertEqual(self.bench(self.url(server) + "/")["completed"], 4)


if __name__ == "__main__":
    program.main()
