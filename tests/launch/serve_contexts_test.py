#!/usr/bin/env python3
"""Contexts of a server: texts that are read once, named, asked about, kept by servers to come."""
import contextlib
import ctypes
import http.client
import json
import os
import pathlib
import shutil
import signal
import time

import job
import program
from program import MODEL
from server import ServerTest

PATH = "/v1/contexts"
PR_CAPBSET_DROP, CAP_DAC_OVERRIDE = 24, 1  # of prctl
FILLER = "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again. "


class ServeContexts(ServerTest):
    def setUp(self):
        super().setUp()
        self.contexts = self.folder / "contexts"
        self.question, self.answer = program.question()
        self.text, self.rest = self.question[:-20].decode(), self.question[-20:].decode()

    def serve(self, *options, **more):
        return super().serve("--contexts", self.contexts, "--states-every", 128, *options, **more)

    def wait_for(self, server, context, status="ready"):
        deadline = time.monotonic() + program.SECONDS
        while True:
            code, found = server.ask("GET", f"{PATH}/{context}")
            self.assertEqual(code, 200, found)
            if found["status"] == status:
                return found
            self.assertLess(time.monotonic(), deadline, found)
            self.assertNotEqual(found["status"], "failed", found)
            time.sleep(0.02)

    def assert_answers(self, server, context):
        answer = server.complete(self.rest, temperature=0, max_tokens=len(self.answer), longreach={"context": context})
        self.assertEqual(answer["choices"][0]["text"].encode(), self.answer)
        usage = answer["usage"]
        self.assertEqual(usage["prompt_tokens"], len(self.question))
        self.assertGreaterEqual(usage["prompt_tokens_details"]["cached_tokens"], len(self.text))

    def test_a_text_is_read_once_on_any_grid(self):
        ids = set()
        for n_ranks, options in ((1, []), (2, ["--shards", 2]), (2, ["--stages", 2])):
            with self.subTest(options=options):
                server = self.serve(*options, n_ranks=n_ranks)
                before = server.metric("step_rows_sum")
                made = server.post(PATH, text=self.text, name="pass key")
                ids.add(made["id"])
                found = self.wait_for(server, made["id"])
                self.assertEqual((found["name"], found["tokens"], found["tokens_read"], found["tokens_saved"]),
                                 ("pass key", len(self.text), len(self.text), len(self.text)))
                self.assert_answers(server, made["id"])
                # The whole text as a prompt meets it, too.
                usage = server.complete(self.question.decode(), temperature=0, max_tokens=1)["usage"]
                self.assertGreaterEqual(usage["prompt_tokens_details"]["cached_tokens"], len(self.text))
                n_read = server.metric("step_rows_sum") - before
                self.assertLess(n_read, 100 if len(ids) > 1 or options else len(self.text) + 100)
                self.end_job(server.process)
        self.assertEqual(len(ids), 1)
        self.assertEqual(sorted(path.name for path in self.contexts.iterdir()), sorted([*ids, f"{ids.pop()}.json"]))

    def test_chats_go_on_after_a_text(self):
        server = self.serve()
        made = server.post(PATH, text=self.text)
        self.wait_for(server, made["id"])
        messages = [{"role": "user", "content": "What is it?"}]
        chat = server.post("/v1/chat/completions", messages=messages, temperature=0, max_tokens=8, longreach={"context": made["id"]})
        plain = server.complete(f"{self.text}\n\nUser: What is it?\n\nAssistant:", temperature=0, max_tokens=8, stop="\n\nUser:")
        self.assertEqual(chat["choices"][0]["message"]["content"], plain["choices"][0]["text"].lstrip())

    def test_names_lists_and_ends(self):
        server = self.serve()
        self.assertEqual(server.ask("GET", PATH), (200, {"object": "list", "data": []}))
        first = server.post(PATH, text=self.text, name="one")
        second = server.post(PATH, prompt=[1, 2, 3] * 50, name="two")
        for made in (first, second):
            self.wait_for(server, made["id"])
        self.assertEqual({each["name"] for each in server.ask("GET", PATH)[1]["data"]}, {"one", "two"})
        self.assertEqual(server.post(f"{PATH}/{first['id']}", name="Erst\n<b>")["name"], "Erst\n<b>")
        self.assertEqual(server.post(PATH, text=self.text, name="again")["id"], first["id"])
        self.assertEqual(server.ask("DELETE", f"{PATH}/{second['id']}"), (200, {"id": second["id"], "object": "context", "deleted": True}))
        self.assertEqual(server.ask("GET", f"{PATH}/{second['id']}")[0], 404)
        self.assertEqual(server.ask("DELETE", f"{PATH}/{second['id']}")[0], 404)
        self.assertFalse((self.contexts / second["id"]).exists())
        self.end_job(server.process)
        server = self.serve()
        self.assertEqual([each["name"] for each in server.ask("GET", PATH)[1]["data"]], ["again"])
        self.assert_answers(server, first["id"])

    def test_what_cannot_be(self):
        server = self.serve("--context-length", 1000)

        def refused(status, path=PATH, method="POST", **body):
            found, answer = server.ask(method, path, body)
            self.assertEqual(found, status, answer)
            return answer["error"]["message"]
        refused(400)
        refused(400, text="")
        refused(400, text=7)
        refused(400, prompt=[-1])
        refused(400, text="a", name=["b"])
        refused(400, text="a", name="x" * 257)
        self.assertIn("1000", refused(400, text="x" * 1001))
        refused(404, f"{PATH}/../../etc/passwd", "GET")
        refused(404, f"{PATH}/..", "DELETE")
        refused(405, PATH, "DELETE")
        refused(405, f"{PATH}/x", "PUT")
        refused(404, "/v1/completions", prompt="a", longreach={"context": "../x"})
        refused(400, "/v1/completions", prompt="a", longreach={"context": 7})
        text = FILLER * 11
        made = server.post(PATH, text=text[:990])
        self.wait_for(server, made["id"])
        self.assertIn("1000", refused(400, "/v1/completions", prompt="a" * 6, max_tokens=6, longreach={"context": made["id"]}))
        without = super().serve()
        for method, path, body in (("GET", PATH, None), ("POST", PATH, {"text": "a"})):
            self.assertEqual(without.ask(method, path, body)[0], 404)
        self.assertEqual(without.ask("POST", "/v1/completions", {"prompt": "a", "longreach": {"context": "x"}})[0], 400)

    def test_a_server_that_ends_or_dies_goes_on_reading(self):
        text = FILLER * 700
        for end in (signal.SIGTERM, signal.SIGKILL):
            with self.subTest(end=end):
                shutil.rmtree(self.contexts, ignore_errors=True)
                server = self.serve("--context-length", 100000)
                made = server.post(PATH, text=text)
                waiting = server.post(PATH, text=self.text)
                self.assertEqual(waiting["status"], "waiting")
                deadline = time.monotonic() + program.SECONDS
                while server.ask("GET", f"{PATH}/{made['id']}")[1]["tokens_saved"] < 1000:
                    self.assertLess(time.monotonic(), deadline)
                self.assertEqual(server.ask("POST", "/v1/completions",
                                            {"prompt": "a", "longreach": {"context": made["id"]}})[0], 409)
                # What is there of it so far is known.
                usage = server.complete(text[:1100], max_tokens=1)["usage"]
                self.assertGreaterEqual(usage["prompt_tokens_details"]["cached_tokens"], 896)
                server.process.send_signal(end)
                server.process.wait(timeout=program.SECONDS)
                server = self.serve("--context-length", 100000)
                found = server.ask("GET", f"{PATH}/{made['id']}")[1]
                self.assertGreaterEqual(found["tokens_saved"], 1000)
                for each in (made, waiting):
                    self.wait_for(server, each["id"])
                n_read = server.metric("step_rows_sum")
                self.assertLess(n_read, len(text) + len(self.text) - 900)
                self.assert_answers(server, waiting["id"])
                self.end_job(server.process)

    def long_text(self, number, n_bytes=20000):
        return (f"Text {number}. " + FILLER * (n_bytes // len(FILLER) + 1))[:n_bytes]

    def kept(self, server, n_tokens):
        """The context, not pinned, of so many tokens, when it is there."""
        def find():
            return [each for each in server.ask("GET", PATH)[1]["data"]
                    if not each["pinned"] and each["status"] == "ready" and each["tokens"] == n_tokens]
        self.wait_until(find)
        return find()[0]

    def taken(self, context):
        """Bytes on the disk."""
        return sum(path.stat().st_blocks * 512 for path in (self.contexts / context["id"]).rglob("*"))

    def test_long_prompts_are_kept_on_the_disk(self):
        options = ("--context-length", 100000)
        text, known = self.long_text(1), 16384
        questions = [text + "What is it?", text + "And why?", text + self.long_text(2, 17000) + "So?"]
        plain = super().serve(*options[:2])
        expected = [plain.text(each, temperature=0, max_tokens=5) for each in questions]
        self.end_job(plain.process)
        for n_ranks, grid in ((1, []), (2, ["--shards", 2]), (2, ["--stages", 2])):
            with self.subTest(grid=grid):
                shutil.rmtree(self.contexts, ignore_errors=True)
                server = self.serve(*options, *grid, n_ranks=n_ranks)
                self.assertEqual(server.text(questions[0], temperature=0, max_tokens=5), expected[0])
                first = self.kept(server, known)
                n_read = server.metric("step_rows_sum")
                self.assertLess(n_read, len(questions[0]) + 10)  # nothing was read for it
                server.process.send_signal(signal.SIGKILL)
                server.process.wait(timeout=program.SECONDS)
                server = self.serve(*options)  # on another grid
                self.assertEqual(self.kept(server, known)["id"], first["id"])
                for question, answer in zip(questions[1:], expected[1:]):
                    found = server.complete(question, temperature=0, max_tokens=5)
                    self.assertEqual(found["choices"][0]["text"], answer)
                    self.assertGreaterEqual(found["usage"]["prompt_tokens_details"]["cached_tokens"], known)
                # The longer one goes on after it: what both have lies on the disk once.
                longer = self.kept(server, (len(questions[2]) // 8192) * 8192)
                self.assertLess(self.taken(longer), 1.5 * self.taken(first))
                self.assertEqual(server.ask("DELETE", f"{PATH}/{first['id']}")[0], 409)
                self.end_job(server.process)
                server = self.serve(*options)
                found = server.complete(questions[2] + " ", temperature=0, max_tokens=1)
                self.assertGreaterEqual(found["usage"]["prompt_tokens_details"]["cached_tokens"], longer["tokens"])
                self.end_job(server.process)
                for path in sorted(self.contexts.glob("ctx-*/")):
                    if path.is_dir():
                        self.output("context", "verify", path, "--model", MODEL)

    def test_what_prompts_leave_has_a_budget(self):
        options = ("--context-length", 100000)
        server = self.serve(*options)
        server.complete(self.long_text(1), max_tokens=1)
        first = self.kept(server, 16384)
        taken = self.taken(first)
        self.end_job(server.process)
        server = self.serve(*options, "--contexts-size", int(2.5 * taken))
        server.complete(self.long_text(2), max_tokens=1)
        self.wait_until(lambda: len(server.ask("GET", PATH)[1]["data"]) == 2)
        server.complete(self.long_text(1), max_tokens=1)  # used again
        server.complete(self.long_text(3), max_tokens=1)

        def ids():
            return {each["id"] for each in server.ask("GET", PATH)[1]["data"] if each["status"] == "ready"}
        self.wait_until(lambda: len(ids()) == 2 and first["id"] in ids())
        self.assertEqual(server.metric("contexts_evicted_total"), 1)
        self.assertEqual(server.metric("contexts_disk_budget_bytes"), int(2.5 * taken))
        self.assertEqual(server.metric("contexts_disk_bytes"), sum(each["bytes"] for each in server.ask("GET", PATH)[1]["data"]))
        self.assertEqual({path.name for path in self.contexts.iterdir() if path.is_dir()}, ids())
        # A text that is posted takes their place, and what is pinned stays.
        third = (ids() - {first["id"]}).pop()
        posted = self.wait_for(server, server.post(PATH, text=self.long_text(6, 17000))["id"])
        self.assertEqual(ids(), {posted["id"], third})
        self.assertAlmostEqual(posted["bytes"], self.taken(posted), delta=100000)
        self.assertTrue(server.post(f"{PATH}/{third}", pinned=True)["pinned"])
        for changes in ({"pinned": "yes"}, {}, {"nam": "x"}):
            self.assertEqual(server.ask("POST", f"{PATH}/{third}", changes)[0], 400)
        server.complete(self.long_text(4), max_tokens=1)
        self.end_job(server.process)
        server = self.serve(*options, "--contexts-size", int(1.5 * taken))
        self.assertEqual(ids(), {posted["id"], third})
        self.assertFalse(server.post(f"{PATH}/{third}", pinned=False)["pinned"])
        self.end_job(server.process)
        # What is no longer allowed goes at the start, as does what a killed server had begun and saved nothing of.
        begun = self.contexts / "ctx-0123456789abcdef01234567"
        shutil.copytree(self.contexts / posted["id"], begun)
        manifest = json.loads((begun / "manifest.json").read_text())
        (begun / "manifest.json").write_text(program.manifest_text(manifest | {"states": []}))
        begun.with_suffix(".json").write_text('{"pinned": false}')
        server = self.serve(*options, "--contexts-size", 0)
        self.assertEqual(ids(), {posted["id"]})
        server.complete(self.long_text(5), max_tokens=1)
        self.end_job(server.process)
        self.assertEqual([path.name for path in self.contexts.iterdir() if path.is_dir()], [posted["id"]])

    def test_what_cannot_be_opened_is_left_aside(self):
        server = self.serve()
        whole = server.post(PATH, text=self.text)["id"]
        self.wait_for(server, whole)
        self.end_job(server.process)
        for name, content in (("cut", b'{"version"'), ("old", b'{"version": 2}'), ("changed", None)):
            damaged = self.contexts / f"ctx-{name}"
            shutil.copytree(self.contexts / whole, damaged)
            manifest = damaged / "manifest.json"
            manifest.write_bytes(content or manifest.read_bytes().replace(b'"weights"', b'"wejghts"'))
        (self.contexts / "ctx-pipe").mkdir()
        os.mkfifo(self.contexts / "ctx-pipe" / "manifest.json")
        server = self.serve()
        self.assertEqual([each["id"] for each in server.ask("GET", PATH)[1]["data"]], [whole])

    def test_a_budget_that_no_prompt_fits_into_is_refused(self):
        self.assert_refused(["serve", "--model", MODEL, "--port", 0, "--contexts", self.contexts, "--contexts-size", 1000],
                            "--contexts-size", "1.0 kB", "or 0")

    def test_a_folder_that_cannot_be_written_is_used_as_it_is(self):
        options = ("--context-length", 100000)
        server = self.serve(*options)
        made = server.post(PATH, text=self.text)
        self.wait_for(server, made["id"])
        server.complete(self.long_text(1), max_tokens=1)
        kept = self.kept(server, 16384)
        half = server.post(PATH, text=FILLER * 700)["id"]
        self.wait_until(lambda: server.ask("GET", f"{PATH}/{half}")[1]["tokens_saved"] > 0)
        server.process.kill()
        server.process.wait()
        everything = sorted(path.relative_to(self.contexts) for path in self.contexts.rglob("*"))
        folders = [self.contexts, *(path for path in self.contexts.rglob("*") if path.is_dir())]
        for path in folders:
            path.chmod(0o555)
            self.addCleanup(path.chmod, 0o755)
        # Not even root may write then, without CAP_DAC_OVERRIDE.
        server = self.serve(*options, "--contexts-size", int(1.5 * kept["bytes"]),
                            preexec_fn=lambda: ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, CAP_DAC_OVERRIDE))
        self.assertEqual(server.log.read_text().count("cannot be written"), 1)
        self.assert_answers(server, made["id"])
        usage = server.complete(self.long_text(1) + "So?", max_tokens=1)["usage"]
        self.assertGreaterEqual(usage["prompt_tokens_details"]["cached_tokens"], 16384)
        server.complete(self.long_text(2), max_tokens=1)
        self.assertEqual(server.ask("GET", f"{PATH}/{half}")[1]["status"], "failed")
        for method, path, body in (("POST", PATH, {"text": "a"}), ("POST", f"{PATH}/{made['id']}", {"name": "b"}),
                                   ("DELETE", f"{PATH}/{made['id']}", None)):
            status, answer = server.ask(method, path, body)
            self.assertEqual((status, answer["error"]["code"]), (403, "contexts_read_only"))
        server.process.send_signal(signal.SIGTERM)
        self.assertEqual(server.process.wait(timeout=program.SECONDS), 143)
        self.assertEqual(server.log.read_text().count("[warning]"), 1)
        self.assertEqual(sorted(path.relative_to(self.contexts) for path in self.contexts.rglob("*")), everything)

    def test_a_server_that_ends_saves_what_it_has_read(self):
        options = ("--context-length", 100000)
        server = self.serve(*options)
        connection, answer = server.open("POST", "/v1/completions", {"prompt": self.long_text(1), "max_tokens": 400, "ignore_eos": True})
        server.process.send_signal(signal.SIGTERM)
        with contextlib.closing(connection):
            self.assertEqual(answer.status, 200)
            answer.read()
        self.assertEqual(server.process.wait(timeout=program.SECONDS), 143)
        server = self.serve(*options)
        self.kept(server, 16384)

    def test_a_disk_that_takes_nothing_fails_the_context_alone(self):
        for n_ranks in (1, 2):
            with self.subTest(n_ranks=n_ranks):
                shutil.rmtree(self.contexts, ignore_errors=True)
                server = self.serve("--context-length", 100000, "--shards", n_ranks, n_ranks=n_ranks)
                made = server.post(PATH, text=FILLER * 700)
                folder = self.contexts / made["id"] / "states"
                deadline = time.monotonic() + program.SECONDS
                while server.ask("GET", f"{PATH}/{made['id']}")[1]["tokens_saved"] == 0:
                    self.assertLess(time.monotonic(), deadline)
                folder.rename(self.folder / f"gone{n_ranks}")
                found = self.wait_for(server, made["id"], "failed")
                self.assertIn("states", found["error"])
                self.assertEqual(server.complete(self.question.decode(), temperature=0, max_tokens=len(self.answer))
                                 ["choices"][0]["text"].encode(), self.answer)
                self.assertEqual(server.ask("DELETE", f"{PATH}/{made['id']}")[0], 200)
                again = server.post(PATH, text=self.text)
                self.wait_for(server, again["id"])
                self.assert_answers(server, again["id"])
                self.end_job(server.process)

    def test_deleting_what_is_being_read_ends_it(self):
        server = self.serve("--context-length", 1000000)
        made = server.post(PATH, text=FILLER * 5000)
        next_one = server.post(PATH, text=self.text)
        self.wait_for(server, made["id"], "reading")
        self.assertEqual(server.ask("DELETE", f"{PATH}/{made['id']}")[0], 200)
        self.wait_for(server, next_one["id"])
        self.assertEqual([path.name for path in self.contexts.iterdir() if path.is_dir()], [next_one["id"]])

    def test_a_context_that_others_go_on_after_stays(self):
        self.contexts.mkdir()
        base, child = self.contexts / "base.ctx", self.contexts / "child.ctx"
        self.output("read", "--model", MODEL, "--save", base, stdin=self.text.encode())
        self.output("generate", "--model", MODEL, "--context", base, "--save", child, "-n", 4, stdin=self.rest.encode())
        server = self.serve()
        self.assertEqual(server.ask("DELETE", f"{PATH}/base.ctx")[0], 409)
        self.assert_answers(server, "base.ctx")
        for name in ("child.ctx", "base.ctx"):
            self.assertEqual(server.ask("DELETE", f"{PATH}/{name}")[0], 200)
        self.assertEqual(list(self.contexts.iterdir()), [])

    def test_what_is_deleted_stays_deleted_and_frees_its_place(self):
        for end in (signal.SIGTERM, signal.SIGKILL):
            with self.subTest(end=end):
                shutil.rmtree(self.contexts, ignore_errors=True)
                server = self.serve("--context-length", 1000000)
                ready = server.post(PATH, text=self.text)
                self.wait_for(server, ready["id"])
                self.assert_answers(server, ready["id"])
                reading = server.post(PATH, text=FILLER * 5000)
                self.wait_for(server, reading["id"], "reading")
                for each in (ready, reading):
                    self.assertEqual(server.ask("DELETE", f"{PATH}/{each['id']}")[0], 200)
                server.process.send_signal(end)
                server.process.wait(timeout=program.SECONDS)
                server = self.serve()
                self.assertEqual(server.ask("GET", PATH)[1]["data"], [])
                self.assertEqual(list(self.contexts.iterdir()), [])
                self.end_job(server.process)
        server = self.serve()
        ready = server.post(PATH, text=self.text)
        self.wait_for(server, ready["id"])
        self.assert_answers(server, ready["id"])
        server.ask("DELETE", f"{PATH}/{ready['id']}")
        maps = pathlib.Path(f"/proc/{server.process.pid}/maps").read_text()
        self.assertNotIn(ready["id"], maps)

    def test_a_text_that_was_not_read_to_its_end_is_not_ready(self):
        text = FILLER * 700
        server = self.serve("--context-length", 100000)
        made = server.post(PATH, text=text)
        deadline = time.monotonic() + program.SECONDS
        while server.ask("GET", f"{PATH}/{made['id']}")[1]["tokens_saved"] < 1000:
            self.assertLess(time.monotonic(), deadline)
        server.process.kill()
        server.process.wait()
        (self.contexts / f"{made['id']}.text").write_bytes(b"short")
        server = self.serve("--context-length", 100000)
        found = server.ask("GET", f"{PATH}/{made['id']}")[1]
        self.assertEqual(found["status"], "failed", found)
        self.assertIn("again", found["error"])
        self.assertEqual(server.ask("POST", "/v1/completions", {"prompt": "a", "longreach": {"context": made["id"]}})[0], 409)
        self.assertEqual(server.post(PATH, text=text)["id"], made["id"])
        self.wait_for(server, made["id"])
        self.assertLess(server.metric("step_rows_sum"), len(text) - 900)

    def test_damage_ends_neither_the_server_nor_other_texts(self):
        server = self.serve("--context-length", 100000)
        texts = {name: f"{name} {self.text}" for name in ("cut", "gone", "good")}
        ids = {name: server.post(PATH, text=text)["id"] for name, text in texts.items()}
        for each in ids.values():
            self.wait_for(server, each)
        (self.contexts / ids["cut"] / "tokens").write_bytes(b"1234")
        shutil.rmtree(self.contexts / ids["gone"])
        for name in ("cut", "gone"):
            # A prompt that begins with it is read; one that names it is refused.
            answer = server.complete(f"{texts[name]}{self.rest}", max_tokens=2)
            self.assertEqual(answer["usage"]["prompt_tokens"], len(texts[name] + self.rest))
            self.assertGreaterEqual(server.ask("POST", "/v1/completions",
                                               {"prompt": "a", "longreach": {"context": ids[name]}})[0], 404)
        self.assertEqual(server.ask("DELETE", f"{PATH}/{ids['good']}")[0], 200)
        half = server.post(PATH, text=FILLER * 700)["id"]
        deadline = time.monotonic() + program.SECONDS
        while server.ask("GET", f"{PATH}/{half}")[1]["tokens_saved"] < 1000:
            self.assertLess(time.monotonic(), deadline)
        (self.contexts / half).rename(self.folder / "half")
        self.wait_for(server, half, "failed")
        self.assertEqual(server.ask("GET", "/health")[0], 200)
        self.end_job(server.process)
        # Nor at the next start.
        (self.contexts / f"{ids['cut']}.json").write_text("[1, 2]")
        server = self.serve("--context-length", 100000)
        self.assertEqual(server.ask("GET", f"{PATH}/{ids['cut']}")[1]["status"], "failed")
        self.assertEqual(server.ask("DELETE", f"{PATH}/{ids['cut']}")[0], 200)

    def test_many_prompts_after_a_long_text_are_refused_before_they_take_memory(self):
        server = self.serve("--context-length", 100000)
        made = server.post(PATH, text=FILLER * 700)
        self.wait_for(server, made["id"])
        status = pathlib.Path(f"/proc/{server.process.pid}/status")
        peak = [int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM")][0]
        found, answer = server.ask("POST", "/v1/completions", {"prompt": [[1]] * 20000, "longreach": {"context": made["id"]}})
        self.assertEqual(found, 400, answer)
        after = [int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM")][0]
        self.assertLess(after - peak, 200_000)

    def test_a_damaged_chunk_ends_one_server_and_not_the_next(self):
        options = ("--context-length", 100000)
        text = self.long_text(1)
        for pinned in (False, True):
            with self.subTest(pinned=pinned):
                server = self.serve(*options)
                expected = server.text(text + "So?", temperature=0, max_tokens=5)
                context = self.kept(server, 16384)["id"]
                if pinned:
                    server.post(f"{PATH}/{context}", pinned=True)
                self.end_job(server.process)
                with max((self.contexts / context / "cache").iterdir(), key=lambda path: path.stat().st_size).open("r+b") as chunks:
                    size = chunks.seek(0, 2)
                    chunks.seek(0)
                    chunks.write(b"\x55" * size)
                server = self.serve(*options)
                with self.assertRaises((http.client.HTTPException, OSError)):
                    server.text(text + "So?", temperature=0, max_tokens=5)
                self.assertEqual(server.process.wait(timeout=program.SECONDS), 2)
                self.assertIn("does not match its checksum", server.log.read_text())
                server = self.serve(*options)
                status, found = server.ask("GET", f"{PATH}/{context}")
                self.assertEqual((status, found.get("status")), (200, "failed") if pinned else (404, None))
                self.assertEqual(server.text(text + "So?", temperature=0, max_tokens=5), expected)
                again = server.post(PATH, text=text[:16384])
                self.assertEqual(again["id"], context)
                self.wait_for(server, context)
                self.end_job(server.process)
                server = self.serve(*options)
                answer = server.complete(text + "So?", temperature=0, max_tokens=5)
                self.assertEqual(answer["choices"][0]["text"], expected)
                self.assertEqual(answer["usage"]["prompt_tokens_details"]["cached_tokens"], 16384)
                self.assertEqual(server.ask("DELETE", f"{PATH}/{context}")[0], 200)
                self.end_job(server.process)

    def test_servers_learn_of_each_others_contexts(self):
        first = self.serve("--context-length", 100000)
        second = self.serve("--context-length", 100000, "--shards", 2, n_ranks=2)
        other = super().serve("--contexts", self.contexts, "--kv", "int8")  # has no use for them
        made = first.post(PATH, text=self.text, name="one")
        first.complete(self.long_text(1), max_tokens=1)
        kept = self.kept(first, 16384)

        def known(server):
            return {each["id"]: each["name"] for each in server.ask("GET", PATH)[1]["data"] if each["status"] == "ready"}
        self.wait_until(lambda: known(second) == {made["id"]: "one", kept["id"]: ""})
        self.assert_answers(second, made["id"])
        usage = second.complete(self.long_text(1) + "So?", max_tokens=1)["usage"]
        self.assertGreaterEqual(usage["prompt_tokens_details"]["cached_tokens"], 16384)
        self.assertEqual(second.ask("DELETE", f"{PATH}/{made['id']}")[0], 200)
        self.wait_until(lambda: set(known(first)) == {kept["id"]})
        self.assertEqual(first.ask("POST", "/v1/completions", {"prompt": "a", "longreach": {"context": made["id"]}})[0], 404)
        self.assertEqual(known(other), {})

    def test_what_another_server_reads_is_not_deleted(self):
        first, second = self.serve("--context-length", 1000000), None
        made = first.post(PATH, text=FILLER * 5000)
        self.wait_for(first, made["id"], "reading")
        while first.ask("GET", f"{PATH}/{made['id']}")[1]["tokens_saved"] == 0:
            time.sleep(0.02)
        second = self.serve("--context-length", 1000000)
        self.assertEqual(second.ask("DELETE", f"{PATH}/{made['id']}")[0], 409)
        self.assertEqual(first.ask("GET", f"{PATH}/{made['id']}")[1]["status"], "reading")

    def test_ranks_that_wait_leave_their_cores(self):
        server = self.serve("--shards", 2, n_ranks=2)
        pid = job.ranks_of(server.process.pid)[1]

        def seconds():
            fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
            return (int(fields[11]) + int(fields[12])) / 100
        server.complete("The grass", max_tokens=2)
        time.sleep(0.5)
        before = seconds()
        time.sleep(2)
        self.assertLess(seconds() - before, 0.5)
        server.complete("The sky", max_tokens=2)


if __name__ == "__main__":
    program.main()
