#!/usr/bin/env python3
"""The command serve: the interface that OpenAI's clients expect, with the answers of lone runs, alone and under load."""
import array
import concurrent.futures
import contextlib
import http.client
import json
import math
import os
import pathlib
import random
import re
import signal
import socket
import threading
import time

import job
import program
from logits_test import read_npy
from program import MODEL
from server import NAME, ServerTest

DASHBOARD = pathlib.Path(program.__file__).resolve().parents[2] / "configs/grafana/longreach.json"
# With these, generate's sampler is the interface's.
PLAIN = ["--top-p", 1, "--presence-penalty", 0, "--frequency-penalty", 0, "--penalty-decay", 1]


class ServeTest(ServerTest):
    def lines(self):
        """Lines of prompts, of many lengths, greedy and drawn."""
        source = random.Random(3)
        words = "the grass is green sky blue sun yellow here we go there and back again".split()
        lines = []
        for i in range(12):
            text = " ".join(source.choice(words) for _ in range(source.choice((2, 20, 90, 200))))
            lines.append({"prompt": "The grass is green. " * (i % 3) + text, "n": 3 + 2 * i, "logprobs": 2,
                          "seed": i, "temperature": 0 if i % 2 else 0.75, "stop": ["zz", "e b"] if i % 4 == 3 else None})
        return lines

    def lone_runs(self, lines):
        """What generate answers."""
        prompts = self.file("prompts.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
        out = self.folder / "results.jsonl"
        self.output("generate", "--model", MODEL, "--prompts", prompts, "--out", out, "--threads", 1, *PLAIN)
        return [json.loads(line) for line in out.read_text().splitlines()]

    def assert_same(self, answer, expected):
        choice, = answer["choices"]
        self.assertEqual(choice["text"], expected["text"])
        self.assertEqual(choice["finish_reason"], expected["finish_reason"])
        self.assertEqual(answer["usage"]["completion_tokens"], len(expected["tokens"]))
        self.assertEqual(answer["usage"]["prompt_tokens"], expected["prompt_tokens"])
        logprobs = expected["logprobs"] + ([expected["end_logprobs"]] if "end_logprobs" in expected else [])
        self.assertEqual(choice["logprobs"]["token_logprobs"], [each["logprob"] for each in logprobs])

    def test_a_service_manager_learns_when_it_is_ready(self):
        for path in (str(self.folder / "notify"), f"@longreach-{os.getpid()}"):
            with self.subTest(path=path), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
                manager.bind(path.replace("@", "\0"))
                manager.settimeout(program.SECONDS)
                server = self.serve(env={**os.environ, "NOTIFY_SOCKET": path})
                self.assertEqual(manager.recv(100), b"READY=1")
                server.process.send_signal(signal.SIGTERM)
                self.assertEqual(manager.recv(100), b"STOPPING=1")
                self.assertEqual(server.process.wait(program.SECONDS), 143)
        self.serve(env={**os.environ, "NOTIFY_SOCKET": str(self.folder / "nobody")})

    def test_evidence_is_that_of_a_lone_run(self):
        text = program.question()[0].decode()
        passages = self.folder / "passages.jsonl"
        answer = self.output("generate", "--model", MODEL, "--prompt-file", self.file("prompt", text), "-n", 6, "--temperature", 0,
                             "--threads", 1, "--evidence", passages).decode()
        expected = [json.loads(line) for line in passages.read_text().splitlines()]
        self.assertTrue(expected)
        fields = {"prompt": text, "max_tokens": 6, "temperature": 0, "longreach": {"evidence": True}}
        for n_ranks, options in ((1, ()), (2, ("--stages", 2)), (2, ("--shards", 2))):
            with self.subTest(options=options):
                server = self.serve(*options, n_ranks=n_ranks)
                choice, = server.complete(**fields)["choices"]
                self.assertEqual((choice["text"], choice["longreach"]["evidence"]), (answer, expected))
                of_tokens = choice["longreach"]["token_evidence"]
                self.assertEqual(len(of_tokens), server.metric("generation_tokens_total"))
                events = server.stream("/v1/completions", **fields)
                self.assertEqual(sum((event["choices"][0]["longreach"]["token_evidence"] for event in events), []), of_tokens)
                self.assertEqual(events[-1]["choices"][0]["longreach"]["evidence"], expected)
                self.assertNotIn("longreach", server.complete(**fields | {"longreach": {}})["choices"][0])
        status, error = self.serve("--attention", "none").ask("POST", "/v1/completions", fields)
        self.assertEqual((status, error["error"]["param"]), (400, "longreach"))

    def test_answers_are_those_of_lone_runs_alone_and_together_on_any_grid(self):
        lines = self.lines()
        expected = self.lone_runs(lines)
        bodies = [{**{key: value for key, value in line.items() if key != "n"}, "max_tokens": line["n"]} for line in lines]
        for stages, shards in ((1, 1), (2, 1), (1, 2)):
            server = self.serve("--stages", stages, "--shards", shards, n_ranks=stages * shards)
            if stages * shards == 1:
                for body, result in zip(bodies, expected):
                    self.assert_same(server.complete(**body), result)
            with concurrent.futures.ThreadPoolExecutor(len(lines)) as pool:
                answers = list(pool.map(lambda body, ask=server.complete: ask(**body), bodies[::-1]))[::-1]
            for answer, result in zip(answers, expected):
                self.assert_same(answer, result)

    def test_prompt_logprobs_are_those_of_logits(self):
        text = self.lines()[2]["prompt"]
        tokens = list(text.encode())
        logits = self.folder / "logits.npy"
        self.output("logits", "--model", MODEL, "--tokens", self.file("ids.json", json.dumps(tokens)), "--out", logits)
        rows = [array.array("f", row) for row in read_npy(logits)]

        def logprob(row, token):
            largest = max(row)
            return row[token] - largest - math.log(sum(math.exp(each - largest) for each in row))
        server = self.serve()
        asked = {"temperature": 0, "max_tokens": 1, "logprobs": 1, "seed": 1234, "echo": True}
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            answers = list(pool.map(lambda prompt: server.complete(prompt, **asked),
                                    ([tokens], text, [text, text], tokens, [tokens, [97], tokens])))
        first = answers[0]["choices"][0]
        for answer in answers:
            self.assertEqual([choice["index"] for choice in answer["choices"]], list(range(len(answer["choices"]))))
            for choice in answer["choices"][::2]:
                self.assertEqual(choice["logprobs"], first["logprobs"])
                self.assertEqual(choice["text"], first["text"])
        found = first["logprobs"]
        self.assertEqual(len(found["tokens"]), len(tokens) + 1)  # the end token, too, if it is drawn
        self.assertEqual("".join(found["tokens"][:-1]), text)
        self.assertEqual(found["text_offset"], list(range(len(tokens) + 1)))
        self.assertIsNone(found["token_logprobs"][0])
        self.assertIsNone(found["top_logprobs"][0])
        for i in range(1, len(tokens)):
            self.assertAlmostEqual(found["token_logprobs"][i], logprob(rows[i - 1], tokens[i]), delta=1e-5)
            best = max(rows[i - 1])
            is_greedy = rows[i - 1][tokens[i]] == best
            self.assertEqual(found["token_logprobs"][i] == max(found["top_logprobs"][i].values()), is_greedy)
        scored = server.complete(tokens, max_tokens=0, logprobs=1, echo=True)["choices"][0]
        self.assertEqual(scored["text"], text)
        self.assertEqual(scored["logprobs"]["token_logprobs"], found["token_logprobs"][:-1])

    def test_streams_are_the_answers_in_pieces(self):
        server = self.serve()
        for fields in ({"temperature": 0}, {"seed": 5, "n": 3, "logprobs": 1, "echo": True}, {"seed": 7, "temperature": 2}):
            body = {"prompt": "The grass is", "max_tokens": 30, **fields}
            whole = server.post("/v1/completions", **body)
            chunks = server.stream("/v1/completions", **body, stream_options={"include_usage": True})
            self.assertEqual(chunks.pop()["usage"]["completion_tokens"], whole["usage"]["completion_tokens"])
            for choice in whole["choices"]:
                parts = [each["choices"][0] for each in chunks if each["choices"][0]["index"] == choice["index"]]
                self.assertEqual("".join(part["text"] for part in parts), choice["text"])
                self.assertEqual([part["finish_reason"] for part in parts[:-1]], [None] * (len(parts) - 1))
                self.assertEqual(parts[-1]["finish_reason"], choice["finish_reason"])
                if "logprobs" in fields:
                    for key, value in choice["logprobs"].items():
                        self.assertEqual(sum((part["logprobs"][key] for part in parts), []), value)
        chat = {"messages": [{"role": "user", "content": "Hi"}], "seed": 3, "max_tokens": 20, "logprobs": True,
                "top_logprobs": 2}
        message = server.post("/v1/chat/completions", **chat)["choices"][0]
        parts = [each["choices"][0] for each in server.stream("/v1/chat/completions", **chat)]
        self.assertEqual("".join(part["delta"]["content"] for part in parts), message["message"]["content"])
        self.assertEqual([part["delta"].get("role") for part in parts], ["assistant"] + [None] * (len(parts) - 1))
        self.assertEqual(sum((part["logprobs"]["content"] for part in parts), []), message["logprobs"]["content"])

    def test_fields(self):
        server = self.serve()
        two = server.complete(["The grass", "The sky"], n=2, seed=5, max_tokens=12)
        texts = [choice["text"] for choice in two["choices"]]
        self.assertEqual(texts[:2], [server.text("The grass", seed=seed, max_tokens=12) for seed in (5, 6)])
        self.assertEqual(texts[2:], [server.text("The sky", seed=seed, max_tokens=12) for seed in (5, 6)])
        self.assertEqual(two["usage"]["prompt_tokens"], len("The grassThe sky"))
        greedy = server.text("The grass", temperature=0, max_tokens=12)
        self.assertEqual(server.text("The grass", temperature=0, max_tokens=12, stop=greedy[3:6]), greedy[:3])
        self.assertEqual(server.text("The grass", temperature=0, max_tokens=12, echo=True), "The grass" + greedy)
        self.assertEqual(server.text("The grass", max_tokens=4, logit_bias={"122": 100}), "zzzz")
        punished = server.text("The grass", max_tokens=2, temperature=0, logit_bias={"122": 100, "121": 99.5},
                               frequency_penalty=2)
        self.assertEqual(punished, "zy")
        nothing = server.complete("The grass", max_tokens=0)
        self.assertEqual((nothing["choices"][0]["text"], nothing["usage"]["completion_tokens"]), ("", 0))
        # The end token is the likeliest one by far.
        endless = {"prompt": "The grass", "max_tokens": 12, "logit_bias": {"0": 100}}
        self.assertEqual(server.complete(**endless)["usage"]["completion_tokens"], 0)
        answer = server.complete(**endless, ignore_eos=True)
        self.assertEqual((answer["usage"]["completion_tokens"], answer["choices"][0]["finish_reason"]), (12, "length"))
        # Seeds are drawn.
        self.assertNotEqual(*(server.text("The", max_tokens=60, temperature=2) for _ in range(2)))

    def test_a_deadline_ends_a_text_as_its_length_does(self):
        server = self.serve()
        start = time.monotonic()
        choice, = server.complete("The grass", max_tokens=30000, logit_bias={"0": -100}, longreach={"deadline": 0.5})["choices"]
        self.assertLess(time.monotonic() - start, 20)
        self.assertEqual(choice["finish_reason"], "length")
        for wrong in (-1, "a", 1e9):
            self.assertEqual(server.ask("POST", "/v1/completions", {"prompt": "a", "longreach": {"deadline": wrong}})[0], 400)

    def test_chats_are_written_as_the_template_says(self):
        template = self.file("chat.json", json.dumps({"user": "<u>{}</u>", "answer": "<a>", "stop": ["</a>"]}))
        server = self.serve("--chat-template", template)
        fields = {"temperature": 0, "max_tokens": 5}
        chat = server.post("/v1/chat/completions", messages=[{"role": "user", "content": "Hi"}], **fields)
        plain = server.complete("<u>Hi</u><a>", stop="</a>", **fields)
        self.assertEqual(chat["usage"]["prompt_tokens"], len("<u>Hi</u><a>"))
        self.assertEqual(chat["choices"][0]["message"]["content"].strip(), plain["choices"][0]["text"].strip())
        self.assert_refused(["serve", "--model", MODEL, "--chat-template", self.file("bad.json", "[]")], "bad.json")

    def test_prompts_are_read_once(self):
        server = self.serve()
        prompt = "The grass is green. " * 20
        first = server.complete(prompt, temperature=0)
        again = server.complete(prompt + "x", temperature=0)
        self.assertEqual(first["usage"]["prompt_tokens_details"]["cached_tokens"], 0)
        self.assertEqual(again["usage"]["prompt_tokens_details"]["cached_tokens"], len(prompt) - 1)
        self.assertEqual(server.text(prompt, temperature=0), first["choices"][0]["text"])

    def test_a_long_beginning_of_prompts_that_come_at_once_is_read_once(self):
        server = self.serve()
        text = "The grass is green. The sky is blue. " * 250
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            answers = list(pool.map(lambda i: server.complete(f"{text}{i} and so on", max_tokens=2), range(4)))
        cached = sorted(answer["usage"]["prompt_tokens_details"]["cached_tokens"] for answer in answers)
        self.assertEqual(cached[0], 0)
        self.assertGreaterEqual(cached[1], 8192)
        self.assertLess(server.metric("step_rows_sum"), len(text) + 4 * (len(text) - 8192 + 50))

    def test_saved_texts_are_not_read_again(self):
        question, answer = program.question()
        head = question[:-20]
        context = self.folder / "contexts" / "text.ctx"
        context.parent.mkdir()
        self.output("read", "--model", MODEL, "--save", context, stdin=head)
        for n_ranks in (1, 2):
            server = self.serve("--contexts", context.parent, "--shards", n_ranks, n_ranks=n_ranks)
            found = server.complete(question.decode(), temperature=0, max_tokens=len(answer))
            self.assertEqual(found["choices"][0]["text"].encode(), answer)
            self.assertEqual(found["usage"]["prompt_tokens_details"]["cached_tokens"], len(head))

    def test_models_and_tokens(self):
        server = self.serve("--context-length", 1000)
        models = server.ask("GET", "/v1/models")[1]["data"]
        self.assertEqual([model["id"] for model in models], [NAME])
        self.assertEqual(server.ask("GET", f"/v1/models/{NAME}"), (200, models[0]))
        self.assertEqual(server.ask("GET", "/v1/models/other")[0], 404)
        self.assertEqual(server.ask("GET", "/health"), (200, {"status": "ok"}))
        info = server.ask("GET", "/tokenizer_info")[1]
        self.assertEqual(server.post("/tokenize", prompt=info["eos_token"], add_special_tokens=False)["tokens"], [0])
        self.assertEqual(server.post("/tokenize", content="aä")["tokens"], [97, 195, 164])
        self.assertEqual(server.post("/detokenize", tokens=[97, 195, 164])["prompt"], "aä")
        # Clients that send texts begin them with the end token's spelling.
        marked = server.post("/detokenize", tokens=[0, 97])["prompt"]
        self.assertEqual(server.post("/tokenize", prompt=marked)["tokens"], [0, 97])
        texts = [server.complete(prompt, max_tokens=2, temperature=0, echo=True, logprobs=1) for prompt in (marked, [0, 97])]
        self.assertEqual(texts[0]["choices"], texts[1]["choices"])
        self.assertEqual(texts[0]["choices"][0]["text"][:len(marked)], marked)
        server.complete("The", max_tokens=3, logit_bias={"0": -100})
        self.assertEqual(server.metric("generation_tokens_total"), 7)
        self.assertEqual(server.metric("requests_total"), 3)
        self.assertEqual(server.metric("requests_running"), 0)

    def test_it_says_how_busy_each_rank_is(self):
        for n_ranks, grid in ((1, ()), (2, ("--stages", 2)), (2, ("--shards", 2))):
            with self.subTest(grid=grid):
                server = self.serve(*grid, "--context-length", 5_000_000, n_ranks=n_ranks)

                def shares(ask=server.metrics):
                    found = (re.match(r'longreach_rank_busy_ratio\{rank="(\d+)"\} (\S+)', line) for line in ask())
                    return {int(match[1]): float(match[2]) for match in found if match}
                with self.endless(server):
                    self.wait_until(lambda: len(shares()) == n_ranks and min(shares().values()) > 0)
                    self.assertEqual(sorted(shares()), list(range(n_ranks)))
                    self.assertLessEqual(max(shares().values()), 1)
                self.wait_until(lambda: set(shares().values()) == {0})  # they rest

    def test_the_dashboard_shows_what_is_reported(self):
        server = self.serve("--contexts", self.folder / "contexts")
        server.complete("The", max_tokens=3)
        server.ask("GET", "/nowhere")
        labels = {}
        for line in server.metrics():
            if match := re.match(r"(longreach_\w+)(?:\{(.*)\})? ", line):
                # Prometheus itself adds which server it is.
                labels.setdefault(match[1], {"instance"}).update(re.findall(r'(\w+)="', match[2] or ""))
        board = json.loads(DASHBOARD.read_text())
        ids = [panel["id"] for panel in board["panels"]]
        self.assertEqual(len(set(ids)), len(ids))
        targets = [target for panel in board["panels"] for target in panel.get("targets", ())]
        targets += [{"expr": variable["query"]["query"]} for variable in board["templating"]["list"] if variable["type"] == "query"]
        self.assertGreater(len(targets), 10)
        for target in targets:
            expression = target["expr"]
            names = re.findall(r"longreach_\w+", expression)
            self.assertTrue(names, expression)
            self.assertLessEqual(set(names), set(labels), expression)
            used = re.findall(r"[{,] *(\w+) *[=!]", expression) + re.findall(r"by \((\w+)\)", expression)
            used += re.findall(r"label_values\(\w+, (\w+)\)", expression) + re.findall(r"\{\{(\w+)\}\}", target.get("legendFormat", ""))
            self.assertTrue(used, expression)
            for name in names:
                self.assertLessEqual(set(used), labels[name], expression)

    def test_errors_are_objects_and_the_server_lives_on(self):
        server = self.serve("--context-length", 1000)

        def refused(status, code, body, path="/v1/completions"):
            found, answer = server.ask("POST", path, body)
            self.assertEqual(found, status, answer)
            self.assertEqual(sorted(answer["error"]), ["code", "message", "param", "type"])
            self.assertEqual(answer["error"]["code"], code)
            return answer["error"]["message"]
        message = refused(400, "context_length_exceeded", {"prompt": "x" * 990, "max_tokens": 11})
        self.assertIn("1000", message)
        self.assertIn("1001", message)
        refused(404, "model_not_found", {"prompt": "x", "model": "gpt-4"})
        refused(413, None, "x" * 6_000_000)
        refused(404, None, {}, "/v1/embeddings")
        refused(405, None, {}, "/v1/models")
        for body in ("", "{", "[" * 100_000, '{"prompt": "\xff"}'.encode("latin-1"), '{"prompt": 1e999}', "{}", "null",
                     '{"prompt": "x", "prompt": "y"}', '{"prompt": "x", "best_of": 3}', '{"prompt": [256]}',
                     '{"prompt": "x", "logit_bias": {"%d": 100}}' % 2 ** 70):
            refused(400, None, body)
        everything = {str(i): -100 for i in range(1, 256)}
        self.assertEqual(server.text("x", logit_bias=everything), "")  # the end token is left
        # Torn requests, and clients that leave in the middle.
        for text in (b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{", b"GET", b"\0" * 1000):
            with server.connect() as connection:
                connection.sendall(text)
        self.assertEqual(len(server.text("The", max_tokens=3, logit_bias={"0": -100})), 3)
        self.assertIsNone(server.process.poll())

    @contextlib.contextmanager
    def endless(self, server):
        """Reads a stream that goes on for longer than a test may last, and leaves it at the end."""
        connection, answer = server.open("POST", "/v1/completions", {
            "prompt": "The", "max_tokens": 4_000_000, "stream": True, "logit_bias": {"0": -100}})
        self.assertEqual(answer.status, 200)
        answer.readline()

        def read():
            with contextlib.suppress(OSError, http.client.HTTPException, ValueError, AttributeError):
                while answer.read1():
                    pass
        reader = threading.Thread(target=read)
        reader.start()
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                connection.sock.shutdown(socket.SHUT_RDWR)
            reader.join()
            answer.close()
            connection.close()

    def refused_with_retry(self, server, status):
        connection, head = server.open("POST", "/v1/completions", {"prompt": "The"})
        with contextlib.closing(connection):
            self.assertEqual((head.status, head.getheader("Retry-After")), (status, "1"))
            self.assertIn("message", json.loads(head.read())["error"])

    def test_what_has_no_room_is_refused_and_what_nobody_reads_ends(self):
        server = self.serve("--parallel", 1, "--max-waiting", 1, "--context-length", 5_000_000)
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            with self.endless(server):
                waiting = pool.submit(server.complete, "The", max_tokens=3, logit_bias={"0": -100})
                self.wait_until(lambda: server.metric("requests_waiting") == 1)
                self.refused_with_retry(server, 429)
                self.assertEqual(server.ask("POST", "/v1/completions", {"prompt": ["a", "b", "c"]})[0], 400)
                self.assertFalse(waiting.done())
            self.assertEqual(waiting.result(program.SECONDS)["usage"]["completion_tokens"], 3)
        self.assertEqual(server.metric('requests_total{finish_reason="cancelled"}'), 1)

    def test_connections_that_wait_cost_no_thread_and_a_stream_holds_nobody_up(self):
        server = self.serve("--parallel", 2, "--context-length", 5_000_000)
        tasks = f"/proc/{server.process.pid}/task"
        with self.endless(server):
            n_threads = len(os.listdir(tasks))
            idle = [server.connect() for _ in range(200)]
            self.assertEqual(len(server.text("The", max_tokens=3, logit_bias={"0": -100})), 3)
            self.assertEqual(len(os.listdir(tasks)), n_threads)
            for each in idle:
                each.close()

    def test_keys(self):
        server = self.serve("--api-key-file", self.file("keys", "key-one\n\nkey-two\n"))
        for key in ("key-one", "key-two"):
            self.assertEqual(server.ask("GET", "/v1/models", Authorization=f"Bearer {key}")[0], 200)
        for headers in ({}, {"Authorization": "key-one"}, {"Authorization": "Bearer "}, {"Authorization": "Bearer key-on"},
                        {"Authorization": "Bearer key-one " * 100}, {"Authorization": "Bearer key-onekey-two"}):
            for path in ("/v1/models", "/metrics", "/nowhere"):
                status, answer = server.ask("GET", path, **headers)
                self.assertEqual((status, answer["error"]["code"]), (401, "invalid_api_key"))
        self.assertEqual(server.ask("GET", "/health")[0], 200)
        self.assertNotIn("key-", server.log.read_text())
        self.assert_refused(["serve", "--model", MODEL, "--api-key-file", self.file("none", "\n")], "--api-key-file")

    def test_a_signal_takes_no_more_requests_and_lets_those_there_are_finish(self):
        for n_ranks in (1, 2):
            server = self.serve("--context-length", 5_000_000, n_ranks=n_ranks)
            connection, answer = server.open("POST", "/v1/completions", {
                "prompt": "The", "max_tokens": 4000, "stream": True, "logit_bias": {"0": -100}})
            answer.readline()
            pid = server.process.pid if n_ranks == 1 else job.ranks_of(server.process.pid)[0]
            os.kill(pid, signal.SIGTERM)
            self.wait_until(lambda ask=server.ask: ask("GET", "/health")[0] == 503)
            self.refused_with_retry(server, 503)
            self.assertTrue(answer.read().endswith(b"data: [DONE]\n\n"))
            connection.close()
            self.assertEqual(server.process.wait(program.SECONDS), 143)

    def test_a_second_signal_ends_at_once(self):
        server = self.serve("--context-length", 5_000_000)
        with self.endless(server):
            server.process.send_signal(signal.SIGTERM)
            self.wait_until(lambda: server.ask("GET", "/health")[0] == 503)
            server.process.send_signal(signal.SIGTERM)
            self.assertEqual(server.process.wait(program.SECONDS), -signal.SIGTERM)

    def test_each_request_is_a_line_of_the_log(self):
        server = self.serve()
        server.complete("The", max_tokens=2, logit_bias={"0": -100})
        server.ask("GET", "/no%0Awhere")
        server.process.terminate()
        server.process.wait(program.SECONDS)
        lines = [line for line in server.log.read_text().splitlines() if " access " in line]
        self.assertRegex(lines[0], r'client=127.0.0.1 method="POST" path="/v1/completions" status=200 bytes=\d+ '
                                   r"seconds=\S+ prompt_tokens=3 cached_tokens=0 completion_tokens=2 first_token_seconds=")
        self.assertRegex(lines[1], r'path="/no%0Awhere" status=404')
        self.assertEqual(len(lines), 2)

    def test_an_address_that_is_taken_is_refused_before_the_model_is_loaded(self):
        server = self.serve()
        self.assert_refused(["serve", "--model", MODEL, "--port", server.port], "--port", str(server.port))
        self.assert_refused(["serve", "--model", MODEL, "--port", 0, "--host", "no.such.host.invalid"], "--host")


if __name__ == "__main__":
    program.main()
