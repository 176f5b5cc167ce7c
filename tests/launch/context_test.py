#!/usr/bin/env python3
"""Contexts: a text is read once, and what follows it has the bits of a run that never stopped, on any grid."""
import json
import os
import random
import re
import resource
import shutil
import signal
import time

import job
import program
from program import MODEL

N_SAVED, N_ALL = 5000, 7000
EVERY = 1024
N_KILLS = int(os.environ.get("LONGREACH_KILLS", 12))
GRIDS = ((1, 1), (1, 3), (2, 2), (3, 1))


class Contexts(job.JobTest):
    def setUp(self):
        super().setUp()
        self.context = self.folder / "text.ctx"
        source = random.Random(5)
        self.bytes = bytes(source.choice(b"abcdefgh .\n") for _ in range(N_ALL))
        self.text = self.file("text", self.bytes[:N_SAVED])

    def run_on_grid(self, grid, *command):
        n_stages, n_shards = grid
        return self.run_ranks(n_stages * n_shards, *command, "--stages", n_stages, "--shards", n_shards, "--threads", 1)

    def on_grid(self, grid, *command):
        done = self.run_on_grid(grid, *command)
        self.assertEqual(done.returncode, 0, done.stderr.decode(errors="replace"))
        return done.stdout

    def read(self, *args, text=None):
        return ["read", "--model", MODEL, "--file", text or self.text, "--save", self.context, "--states-every", EVERY,
                *args]

    def tokens(self, begin, end=N_ALL):
        return self.file(f"tokens-{begin}", ",".join(map(str, self.bytes[begin:end])))

    def hash(self, begin, *args, at=None, grid=(1, 1)):
        """Of the logits of three positions after the first `begin` tokens, which are read here or saved."""
        before = ["--context", self.context] if at is None else ["--context", self.context, "--at", at]
        n = N_ALL - begin
        command = ["logits", "--model", MODEL, *before, "--tokens", self.tokens(begin), "--positions", f"0,{n - 100},{n - 1}",
                   "--hash", *args]
        return self.on_grid(grid, *command).split()[-1]

    def lone_hash(self, begin, *args):
        """The same, of one run that never stopped."""
        positions = f"{begin},{N_ALL - 100},{N_ALL - 1}"
        return self.output("logits", "--model", MODEL, "--tokens", self.tokens(0), "--positions", positions, "--hash",
                           "--threads", 1, *args).split()[-1]

    def manifest(self):
        return json.loads((self.context / "manifest.json").read_text())

    def states(self):
        return [state["n_tokens"] for state in self.manifest()["states"]]

    def wait_for_states(self, n_states=1):
        """Until so many are there; a run that writes them has begun to read by then."""
        for _ in range(50 * program.SECONDS):
            if (self.context / "manifest.json").exists() and len(self.states()) >= n_states:
                return
            time.sleep(0.02)
        self.fail("no state is saved")

    def test_grids_change_no_bit(self):
        wanted = self.lone_hash(N_SAVED)
        for written in GRIDS:
            shutil.rmtree(self.context, ignore_errors=True)
            self.on_grid(written, *self.read())
            self.assertEqual(self.states(), [1024, 2048, 3072, 4096, 5000])
            self.output("context", "verify", self.context, "--model", MODEL)
            for opened in ((1, 1), (1, 2), (3, 2)):
                with self.subTest(written=written, opened=opened):
                    self.assertEqual(self.hash(N_SAVED, grid=opened), wanted)

    def test_formats_and_modes(self):
        for args in (("--kv", "int8"), ("--kv", "bf16", "--attention", "full"), ("--weights", "int8"),
                     ("--weights", "int4", "--activations", "int8"), ("--weights", "bf16", "--activations", "bf16"),
                     ("--chunk-size", 100), ("--attention", "none")):
            with self.subTest(args=args):
                shutil.rmtree(self.context, ignore_errors=True)
                self.output(*self.read(*args))
                self.assertEqual(self.hash(N_SAVED, *args, grid=(1, 2)), self.lone_hash(N_SAVED, *args))

    def test_goes_back_to_any_token(self):
        self.output(*self.read())
        for at in (1, 1023, 1024, 3500, N_SAVED):
            with self.subTest(at=at):
                self.assertEqual(self.hash(at, at=at), self.lone_hash(at))
        self.assert_refused(["logits", "--model", MODEL, "--context", self.context, "--at", N_SAVED + 1, "--tokens",
                             self.tokens(10)], "--at", str(N_SAVED))

    def test_an_answer_is_that_of_one_run(self):
        self.output(*self.read())
        end = ["-n", 20, "--temperature", 0, "--threads", 1]
        both = self.file("both", self.bytes[:N_SAVED] + b" the pass key")
        wanted = self.run_program("generate", "--model", MODEL, "--prompt-file", both, *end)
        found = self.run_program("generate", "--model", MODEL, "--context", self.context, "--prompt", " the pass key", *end)
        self.assertEqual((found.returncode, found.stdout), (0, wanted.stdout))
        hash_of = [line for line in found.stderr.split() if len(line) == 64]
        self.assertEqual(hash_of, [line for line in wanted.stderr.split() if len(line) == 64])

    def test_a_longer_text_continues_it(self):
        self.output(*self.read())
        longer = self.file("longer", self.bytes[:6000])
        done = self.run_program(*self.read(text=longer))
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn(b"1000 of 6000 tokens read", done.stderr)
        self.assertEqual(self.states()[-2:], [5120, 6000])
        self.assertEqual(self.hash(6000), self.lone_hash(6000))
        # There is nothing left to do, also for a text that ends earlier.
        for text in (longer, self.text):
            self.assertRegex(self.run_program(*self.read(text=text)).stderr, rb"\A0 of ")
        self.assert_refused(self.read(text=self.file("other", b"another text")), "another text")

    def test_killed_it_goes_on(self):
        source = random.Random(3)
        wanted = self.lone_hash(N_SAVED)
        grids = [(1, 1), (1, 2), (2, 1)]
        for kill in range(N_KILLS):
            n_stages, n_shards = source.choice(grids)
            running = self.start_job("-n", n_stages * n_shards, program.PROGRAM,
                                     *self.read("--stages", n_stages, "--shards", n_shards, "--threads", 1))
            time.sleep(source.uniform(0.1, 1.2))
            pids = job.ranks_of(running.pid)
            # A rank alone, or all at once.
            for pid in source.choice((list(pids.values())[:1], [*pids.values(), running.pid])):
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            self.finish(running)
            self.assert_gone(pids.values())
            if kill % 4 == 3:
                self.on_grid(source.choice(grids), *self.read())
                self.assertEqual(self.states()[-1], N_SAVED)
                self.output("context", "verify", self.context, "--model", MODEL)
                self.assertEqual(self.hash(N_SAVED), wanted)
                shutil.rmtree(self.context)

    def test_damage_is_named(self):
        self.output(*self.read())
        for name, refused_at_once in (("states/5000", True), ("cache/moba.0.index", True), ("tokens", True),
                                      ("manifest.json", True), ("cache/moba.1", False)):
            path = self.context / name
            whole = path.read_bytes()
            cases = {"cut": whole[:len(whole) // 2], "empty": b"",
                     "changed": whole[:700 % len(whole)] + b"~" + whole[700 % len(whole) + 1:]}
            for what, content in cases.items():
                with self.subTest(name=name, what=what):
                    path.write_bytes(content)
                    refused = self.run_program("context", "verify", self.context, "--model", MODEL)
                    self.assert_one_sentence(refused, name)
                    if refused_at_once or what != "changed":
                        self.assert_refused(["generate", "--model", MODEL, "--context", self.context, "--prompt", "x"], name)
            path.write_bytes(whole)
        self.output("context", "verify", self.context, "--model", MODEL)

    def test_no_byte_of_a_manifest_changes_what_it_says(self):
        self.output(*self.read())
        path = self.context / "manifest.json"
        whole = path.read_bytes()
        meant, verify = json.loads(whole), ["context", "inspect", self.context]
        listing = self.output(*verify)
        source = random.Random(5)
        for _ in range(40):
            at = source.randrange(len(whole))
            changed = whole[:at] + bytes([whole[at] ^ 1 << source.randrange(8)]) + whole[at + 1:]
            path.write_bytes(changed)
            with self.subTest(at=at, byte=changed[at]):
                done = self.run_program(*verify)
                if done.returncode == 0:
                    self.assertEqual((json.loads(changed), done.stdout), (meant, listing))
                else:
                    self.assert_one_sentence(done, "manifest.json")
        path.write_bytes(whole)

    def test_what_a_rank_cannot_write_is_said_and_no_state_named(self):
        for grid in ((1, 1), (2, 1), (1, 2)):  # with two stages it is not the leader's file
            with self.subTest(grid=grid):
                (self.context / "cache" / "moba.1").mkdir(parents=True)
                (self.context / "lock").touch()
                done = self.run_on_grid(grid, *self.read())
                self.assertEqual(done.returncode, 2)
                self.assertRegex(done.stderr, rb"longreach: [^\n]*moba\.1: cannot be opened: Is a directory\n")
                if grid == (2, 1):
                    self.assertIn(b"rank 1: ", done.stderr)
                self.assertEqual(self.states(), [])
                shutil.rmtree(self.context)

    def test_what_was_saved_before_no_more_could_be_written_stays(self):
        wanted = self.lone_hash(N_SAVED)
        n_bytes = 3000000  # of a file, less than a block's cache takes; a full disk or quota fails in the same calls
        done = self.run_program(*self.read(), preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, n_bytes)))
        self.assert_one_sentence(done, "moba.", "File too large")
        self.assertGreaterEqual(self.states()[-1], EVERY)
        self.assertLess(self.states()[-1], N_SAVED)
        self.output("context", "verify", self.context, "--model", MODEL)
        self.output(*self.read())
        self.assertEqual(self.hash(N_SAVED), wanted)

    def test_a_damaged_chunk_is_named_when_it_is_chosen(self):
        self.output(*self.read())
        chunks = self.context / "cache" / "moba.1"
        chunks.write_bytes(bytes(byte ^ 1 for byte in chunks.read_bytes()))
        for grid in ((1, 1), (1, 3), (2, 1)):
            with self.subTest(grid=grid):
                done = self.run_on_grid(grid, "generate", "--model", MODEL, "--context", self.context, "--prompt", "x")
                self.assertNotEqual(done.returncode, 0)
                self.assertEqual(done.stdout, b"")
                self.assertRegex(done.stderr, rb"longreach: [^\n]*moba\.1: damaged: head \d+ of tokens \d+ to \d+ ")

    def test_questions_about_saved_texts(self):
        text = self.text.read_bytes().decode()
        questions = [{"input": text + f"Question {i}?", "outputs": [str(i)]} for i in range(3)]
        questions += [{"input": "Another text. " + text[:3000], "outputs": ["x"]}]
        file = self.file("questions.jsonl", "".join(json.dumps(question) + "\n" for question in questions))
        self.output(*self.read())

        def ask(name, grid, *args):
            out = self.folder / name
            command = ["eval", "jsonl", "--model", MODEL, "--input", file, "--new-tokens", 3, "--out", out, "--verbose", *args]
            replicas = ["--threads", 1, "--replicas", 2]
            done = self.run_ranks(2, *command, *replicas) if grid is None else self.run_on_grid(grid, *command)
            self.assertEqual(done.returncode, 0, done.stderr)
            lines = [json.loads(line) for line in out.read_text().splitlines()]
            hashes = [line["logits_sha256"] for line in lines if "logits_sha256" in line]
            self.assertEqual(len(hashes), len(questions))
            left_aside = re.findall(r"left aside: (.*)", done.stderr.decode())
            self.assertEqual(left_aside, [f"1, the first: {self.context} was saved with kv f32, this run has bf16"] * ("bf16" in args))
            return hashes, int(re.search(rb"read (\d+) tokens in", done.stderr)[1])

        wanted, n_read = ask("alone", (1, 1), "--no-sharing")
        self.assertGreater(n_read, 18000)
        for grid in ((1, 1), (2, 2), (3, 1)):
            with self.subTest(grid=grid):
                hashes, n_read = ask(f"with-{grid}", grid, "--contexts", self.folder)
                self.assertEqual(hashes, wanted)
                self.assertLess(n_read, 4000)
        hashes, _ = ask("replicas", None, "--contexts", self.folder)
        self.assertEqual(hashes, wanted)
        hashes, _ = ask("little memory", (1, 1), "--contexts", self.folder, "--cache-memory", "64K")
        self.assertEqual(hashes, wanted)
        # A context of other settings is of no use, and not in the way.
        hashes, n_read = ask("bf16", (1, 1), "--contexts", self.folder, "--kv", "bf16")
        self.assertGreater(n_read, 7000)
        command = ["eval", "jsonl", "--model", MODEL, "--input", file, "--out", self.folder / "r", "--contexts"]
        self.assert_refused([*command, self.folder / "absent"], "absent")
        empty = self.folder / "empty"
        empty.mkdir()
        self.assert_refused([*command, empty], "empty", "contexts")
        self.assert_refused([*command, self.context], str(self.context), "found a context")

    def test_memory_for_the_cache_changes_no_bit(self):
        wanted = self.lone_hash(N_SAVED)
        for grid in ((1, 1), (2, 2)):
            with self.subTest(grid=grid):
                self.on_grid(grid, *self.read("--cache-memory", "64K"))
                self.assertEqual(self.hash(N_SAVED, "--cache-memory", "64KiB", grid=grid), wanted)
                shutil.rmtree(self.context)
        for size in ("", "0", "K", "3X", "4iB", "-1", "99999T"):
            self.assert_refused(self.read("--cache-memory", size), "--cache-memory")

    def test_a_file_cut_while_it_is_mapped_is_named(self):
        self.output(*self.read())
        asking = self.start("generate", "--model", MODEL, "--context", self.context, "--prompt", "x", "-n", 1000000,
                            "--ban-token", 0, stdout=-1, stderr=-1)
        self.assertTrue(asking.stdout.read(1))
        for cut in ("moba.0", "moba.1"):
            os.truncate(self.context / "cache" / cut, 0)
        _, errors = asking.communicate(timeout=program.SECONDS)
        self.assertEqual(asking.returncode, 2, errors)
        self.assertRegex(errors, rb"longreach: .*moba\.\d: was shortened[^\n]*\n\Z")

    def test_other_activations_are_refused(self):
        for saved, asked in (("f32", "bf16"), ("bf16", "f32")):
            with self.subTest(saved=saved):
                shutil.rmtree(self.context, ignore_errors=True)
                self.output(*self.read("--weights", "bf16", "--activations", saved))
                self.assert_refused(["generate", "--model", MODEL, "--context", self.context, "--prompt", "x", "--weights", "bf16",
                                     "--activations", asked], f"activations {saved}", f"has {asked}")

    def test_attention_in_f32_is_not_gone_on_with_rounded(self):
        rounded = ["--weights", "bf16", "--activations", "bf16", "--kv", "bf16"]
        self.output(*self.read(*rounded))
        manifest = self.manifest()
        self.assertEqual(manifest["settings"].pop("attention_activations"), "bf16")
        (self.context / "manifest.json").write_text(program.manifest_text(manifest))
        self.assert_refused(["generate", "--model", MODEL, "--context", self.context, "--prompt", "x", *rounded],
                            "attention_activations f32", "has bf16")

    def test_a_preset_is_another_model_than_a_checkpoint(self):
        preset = "preset:rwkv-x-tiny"
        for saved, asked in ((MODEL, preset), (preset, MODEL)):
            with self.subTest(saved=saved):
                shutil.rmtree(self.context, ignore_errors=True)
                self.output("read", "--model", saved, "--file", self.text, "--save", self.context)
                for command in (["generate", "--context", self.context, "--prompt", "x"],
                                ["logits", "--context", self.context, "--tokens", self.tokens(N_SAVED), "--hash"],
                                ["read", "--file", self.text, "--save", self.context],
                                ["context", "verify", self.context], ["context", "pack", self.context]):
                    self.assert_refused([*command, "--model", asked], "was saved with checkpoint", preset)

    def test_settings_are_all_compared(self):
        self.output(*self.read())
        whole = self.manifest()
        for name in ("top_k", "checkpoint", "isa", "more"):
            settings = whole["settings"] | {"more": "or less"}
            if name != "more":
                settings = {key: value for key, value in whole["settings"].items() if key != name}
            (self.context / "manifest.json").write_text(program.manifest_text(whole | {"settings": settings}))
            self.assert_refused(["generate", "--model", MODEL, "--context", self.context, "--prompt", "x"], f"with {name}", "(none)")

    def test_what_belongs_elsewhere_is_damaged(self):
        whole, other = self.folder / "whole", self.folder / "other"
        self.output(*self.read(text=self.file("other text", self.bytes[N_SAVED - 1::-1])))
        self.context.rename(other)
        self.output(*self.read())
        self.context.rename(whole)
        n_chunks = N_SAVED // 64
        index_bytes = (whole / "cache/moba.0.index").stat().st_size // n_chunks
        chunk_bytes = 2 * 2 * 64 * 64 * 4  # heads, keys and values

        def from_other(name):
            shutil.copy(other / name, self.context / name)

        def move(begin, end):
            def change():
                shutil.copy(whole / begin, self.context / end)
            return change

        def chunk_of_another_place():
            for block in ("moba.0", "moba.1"):
                for file, size in ((block, chunk_bytes), (block + ".index", index_bytes)):
                    with open(self.context / "cache" / file, "r+b") as opened:
                        opened.seek(3 * size)
                        part = opened.read(size)
                        opened.seek(40 * size)
                        opened.write(part)

        def other_block(number):
            return lambda: [from_other(f"cache/moba.{number}{end}") for end in ("", ".index")]

        def exchanged_blocks():
            for end in ("", ".index"):
                move(f"cache/moba.1{end}", f"cache/moba.0{end}")()

        for name, change, at in (("a state of another text", lambda: from_other("states/5000"), 5000),
                                 ("a block of another text", other_block(0), 5000), ("the other block", other_block(1), 5000),
                                 ("another state", move("states/1024", "states/3072"), 3072),
                                 ("another block", exchanged_blocks, 5000), ("another chunk", chunk_of_another_place, 5000)):
            with self.subTest(name):
                shutil.rmtree(self.context, ignore_errors=True)
                shutil.copytree(whole, self.context)
                self.output("context", "verify", self.context, "--model", MODEL)
                change()
                self.assert_refused(["context", "verify", self.context, "--model", MODEL], "damaged")
                self.assert_refused(["generate", "--model", MODEL, "--context", self.context, "--at", at, "--prompt", "x"], "damaged")

    def test_what_does_not_fit_is_refused(self):
        self.output(*self.read())
        ask = ["generate", "--model", MODEL, "--context", self.context, "--prompt", "x"]
        for args, name in ((("--kv", "bf16"), "kv"), (("--top-k", 2), "top_k"), (("--weights", "int8"), "weights"),
                           (("--attention", "full"), "attention"), (("--attention", "reference"), "reference")):
            self.assert_refused([*ask, *args], name)
        self.assert_refused(["generate", "--model", MODEL, "--context", self.folder / "none", "--prompt", "x"], "none")
        self.assert_refused(["generate", "--model", MODEL, "--at", 3, "--prompt", "x"], "--context")
        other = self.folder / "other"
        other.mkdir()
        (other / "mine").write_text("no context")
        self.assert_refused(["read", "--model", MODEL, "--file", self.text, "--save", other], "other")
        self.assertEqual(sorted(os.listdir(other)), ["mine"])
        manifest = self.context / "manifest.json"
        manifest.write_text(json.dumps(self.manifest() | {"version": 1}))
        self.assert_refused(ask, "version")

    def test_another_path_of_instructions_is_refused_unless_asked_for(self):
        self.output(*self.read())
        ask = ["generate", "--model", MODEL, "--context", self.context, "--prompt", "x", "-n", 1]
        portable = {**os.environ, "LONGREACH_ISA": "portable"}
        self.assert_refused(ask, "isa", "portable", env=portable)
        self.output(*ask, "--any-isa", env=portable)
        self.output("context", "verify", self.context, "--model", MODEL, env=portable)
        self.assert_refused([*ask, "--any-isa", "--save", self.folder / "b.ctx"], "--any-isa")

    def test_nothing_is_left_where_nothing_was_read(self):
        for args in (("--stages", 7), ("--shards", 7)):
            done = self.run_program(*self.read(*args))
            self.assertEqual(done.returncode, 2)
            self.assertFalse(self.context.exists())
        self.context.mkdir()
        self.assertEqual(self.run_program(*self.read("--stages", 7)).returncode, 2)
        self.assertEqual(os.listdir(self.context), [])

    def ask(self, context, prompt, *args, grid=(1, 1)):
        """The answer to a prompt after a context."""
        return self.on_grid(grid, "generate", "--model", MODEL, "--context", context, "--prompt", prompt, "-n", 20,
                            "--temperature", 0, "--ban-token", 0, *args)

    def lone_answer(self, text):
        return self.output("generate", "--model", MODEL, "--prompt-file", self.file("all", text), "-n", 20, "--temperature", 0,
                           "--ban-token", 0, "--threads", 1)

    def test_what_is_asked_is_saved_beside_what_it_goes_on_after(self):
        self.output(*self.read())
        before = {path: path.read_bytes() for path in self.context.rglob("*") if path.is_file()}
        first, second, third = self.folder / "first.ctx", self.folder / "second.ctx", self.folder / "deep" / "third.ctx"
        asked = self.bytes[N_SAVED:5600].decode()
        text = self.bytes[:5600]
        text += self.ask(self.context, asked, "--save", first, grid=(1, 2))
        self.assertEqual(text[5600:], self.lone_answer(text[:5600]))
        self.assertEqual(before, {path: path.read_bytes() for path in self.context.rglob("*") if path.is_file()})
        self.assertEqual(json.loads((first / "manifest.json").read_text())["parent"]["path"], "../text.ctx")
        self.assertEqual((first / "tokens").stat().st_size, 4 * 5620)
        # It holds what is new alone.
        self.assertEqual(sorted(os.listdir(first / "states")), ["5620"])
        for block in ("moba.0", "moba.1"):
            own, parents = ((folder / "cache" / block).stat().st_blocks for folder in (first, self.context))
            self.assertLess(own, parents / 2)
        text += b" more?"
        text += self.ask(first, " more?", "--save", second, grid=(2, 1))
        self.assertEqual(text[5626:], self.lone_answer(text[:5626]))
        # One that goes on from where two others have been.
        early = self.bytes[:3000] + b" and"
        early += self.ask(second, " and", "--at", 3000, "--save", third, grid=(1, 3))
        self.assertEqual(early[3004:], self.lone_answer(early[:3004]))
        self.assertEqual(json.loads((third / "manifest.json").read_text())["parent"]["n_tokens"], 2048)
        for context, end in ((first, 5620), (second, len(text)), (third, len(early))):
            self.output("context", "verify", context, "--model", MODEL)
            self.assertIn(b"goes on after", self.output("context", "inspect", context))
            for grid in ((1, 1), (2, 2)):
                with self.subTest(context=context.name, grid=grid):
                    whole = (early if context == third else text)[:end] + b" why"
                    self.assertEqual(self.ask(context, " why", grid=grid), self.lone_answer(whole))
        wanted = {context: self.ask(context, " why") for context in (second, third)}
        wanted_early = self.ask(second, " why", "--at", 1500)
        # Packed, it needs the others no more; moved together, they still find each other.
        self.output("context", "pack", second, "--model", MODEL)
        moved = self.folder / "moved"
        moved.mkdir()
        for context in (self.context, first, second):
            shutil.move(context, moved / context.name)
        self.assertEqual(self.ask(moved / "first.ctx", " more?"), text[5626:5646])
        self.assert_refused(["context", "inspect", third], "third.ctx: goes on after the first 2048 tokens of ", "text.ctx")
        shutil.rmtree(moved / "first.ctx")
        shutil.rmtree(moved / "text.ctx")
        self.output("context", "verify", moved / "second.ctx", "--model", MODEL)
        for grid in ((1, 1), (2, 2)):
            self.assertEqual(self.ask(moved / "second.ctx", " why", grid=grid), wanted[second])
        self.assertEqual(self.ask(moved / "second.ctx", " why", "--at", 1500), wanted_early)

    def test_a_saved_prompt_that_was_killed_goes_on(self):
        text = self.bytes.decode() * 10  # many states, so that it is killed before the last one
        prompt = self.file("prompt", text)
        command = ["generate", "--model", MODEL, "--prompt-file", prompt, "-n", 5, "--temperature", 0, "--ban-token", 0,
                   "--save", self.context, "--threads", 1]
        running = self.start(*command, stdout=-1, stderr=-1)
        self.wait_for_states()
        running.kill()
        running.communicate()
        self.assertLess(self.states()[-1], len(text))
        begun = self.states()
        done = self.run_program(*command)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(self.states()[:len(begun)], begun)
        self.assertEqual(done.stdout, self.output(*command[:11], "--threads", 1))
        self.assertEqual(self.states()[-1], len(text) + 5)
        self.assert_refused(command, "--save", "text.ctx")
        # Without a prompt of its own, the text goes on in its own context.
        self.output("generate", "--model", MODEL, "--context", self.context, "--prompt", "x", "-n", 5, "--temperature", 0,
                    "--ban-token", 0, "--save", self.context)
        self.assertEqual(self.states()[-1], len(text) + 11)

    def test_the_last_state_of_a_prompt_is_saved_while_it_is_answered(self):
        text = self.bytes * 4
        running = self.start("generate", "--model", MODEL, "--prompt-file", self.file("prompt", text), "--ban-token", 0,
                             "--save", self.context, "--threads", 1, "-n", 1000000, stdout=-1, stderr=-1)
        self.assertTrue(running.stdout.read(20))
        self.wait_for_states(len(text) // 8192)
        running.kill()
        running.communicate()
        self.assertEqual(self.states()[-1], len(text) // 8192 * 8192)
        self.output("context", "verify", self.context, "--model", MODEL)

    def test_a_saved_prompt_that_was_stopped_goes_on(self):
        text = self.bytes * 10  # many states, so that it is stopped before the last one
        command = ["generate", "--model", MODEL, "--prompt-file", self.file("prompt", text), "--temperature", 0, "--ban-token", 0,
                   "--save", self.context, "--threads", 1, "-n"]
        for is_answering in (False, False, True):
            n_before = len(self.states()) if self.context.exists() else 0
            running = self.start(*command, 100000, stdout=-1, stderr=-1)
            if is_answering:
                self.assertTrue(running.stdout.read(20))
            else:
                self.wait_for_states(n_before + 1)
            running.send_signal(signal.SIGINT)
            _, errors = running.communicate(timeout=program.SECONDS)
            self.assertEqual(running.returncode, 130, errors)
            self.output("context", "verify", self.context, "--model", MODEL)
            ids = (self.context / "tokens").read_bytes()[:4 * self.states()[-1]]
            saved = bytes(ids[::4])
            self.assertEqual(saved[:len(text)], text[:len(saved)])
            self.assertEqual(len(saved) > len(text), is_answering)
            self.assertEqual(self.ask(self.context, " why"), self.lone_answer(saved + b" why"))

    def test_a_parent_that_is_not_as_it_was_is_named(self):
        self.output(*self.read())
        child = self.folder / "child.ctx"
        self.ask(self.context, "x", "--save", child)
        manifest = child / "manifest.json"
        whole = json.loads(manifest.read_text())
        parent = whole["parent"]
        inspect = ["context", "inspect", child]
        for change, part in (({"path": "../child.ctx"}, "child.ctx"), ({"path": "../none.ctx"}, "none.ctx"), ({"path": 7}, "path"),
                             ({"n_tokens": 4999}, "no state there"), ({"tokens_crc32": 1}, "holds others"),
                             ({"n_tokens": -1}, "n_tokens")):
            with self.subTest(change=change):
                manifest.write_text(program.manifest_text(whole | {"parent": parent | change}))
                self.assert_refused(inspect, part)
        manifest.write_text(program.manifest_text(whole | {"settings": whole["settings"] | {"top_k": "99"}}))
        self.assert_refused(inspect, "top_k")
        manifest.write_text(json.dumps(whole))
        self.output(*inspect)

    def test_one_writes_at_a_time(self):
        long = self.file("long", self.bytes * 40)
        first = self.start(*self.read(text=long), stderr=-1)
        self.wait_for_states()
        self.assert_refused(self.read(text=long), "another run")
        # Who reads sees the last complete state.
        self.output("generate", "--model", MODEL, "--context", self.context, "--prompt", "x", "-n", 2, "--temperature", 0)
        first.send_signal(signal.SIGINT)
        _, errors = first.communicate(timeout=program.SECONDS)
        self.assertEqual(first.returncode, 130, errors)
        self.assertIn(b"goes on from there", errors)
        self.output("context", "verify", self.context, "--model", MODEL)


if __name__ == "__main__":
    program.main()
