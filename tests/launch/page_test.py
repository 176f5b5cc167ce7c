#!/usr/bin/env python3
"""The page of the server in headless Chromium: reads a text, asks, follows an answer to the passage it looked at."""
import json
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request

import program
from program import MODEL
from server import Server

DRIVER = shutil.which("chromedriver")
KEY = "48213"


class Browser:
    """A window of Chromium, by the WebDriver protocol."""

    def __init__(self, test):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        driver = subprocess.Popen([DRIVER, f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        test.addCleanup(driver.wait)
        test.addCleanup(driver.kill)
        self.url = f"http://127.0.0.1:{port}"
        args = ["--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", f"--user-data-dir={test.folder}/chromium"]
        options = {"capabilities": {"alwaysMatch": {"goog:chromeOptions": {"args": args}}}}
        for _ in range(10 * program.SECONDS):
            try:
                session = self.call("POST", "/session", options)
                break
            except OSError:
                time.sleep(0.1)
        self.url += "/session/" + session["sessionId"]
        test.addCleanup(self.call, "DELETE", "")

    def call(self, method, path, body=None):
        data = None if method != "POST" else json.dumps(body or {}).encode()
        request = urllib.request.Request(self.url + path, data, {"Content-Type": "application/json"}, method=method)
        with urllib.request.urlopen(request, timeout=program.SECONDS) as response:
            return json.load(response)["value"]

    def run(self, script, *args):
        return self.call("POST", "/execute/sync", {"script": script, "args": list(args)})

    def element(self, selector):
        found = self.call("POST", "/element", {"using": "css selector", "value": selector})
        return "/element/" + next(iter(found.values()))

    def click(self, selector):
        self.call("POST", self.element(selector) + "/click")

    def type(self, selector, text):
        self.call("POST", self.element(selector) + "/value", {"text": str(text)})

    def text(self, selector):
        return self.run("return document.querySelector(arguments[0])?.innerText ?? ''", selector)

    def wait_until(self, found, message):
        """Returns what `found` returns once that is true."""
        end = time.monotonic() + program.SECONDS
        while time.monotonic() < end:
            value = found()
            if value:
                return value
            time.sleep(0.1)
        raise AssertionError(message())

    def wait_for(self, selector, pattern):
        """Waits until the text of an element matches."""
        self.wait_until(lambda: re.search(pattern, self.text(selector)),
                        lambda: f"{selector}: expected {pattern}, found {self.text(selector)!r}")

    def wait_until_enabled(self, selector):
        self.wait_until(lambda: self.run("return !document.querySelector(arguments[0]).disabled", selector),
                        lambda: f"{selector}: stays disabled")



class Page(program.ProgramTest):
    def serve(self, port=0, *options):
        log = self.folder / f"log-{port}"
        with open(log, "wb") as file:
            process = self.start("serve", "--model", MODEL, "--port", port, "--threads", 1, "--context-length", 40000, *options, stderr=file)
        return Server(process, log)

    def test_a_text_is_kept(self):
        server = self.serve(0, "--contexts", self.folder / "contexts")
        filler = "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again.\n"
        text = filler * 60 + f"The pass key is {KEY}. Remember it. {KEY} is the pass key.\n" + filler * 120
        browser = Browser(self)
        page = {"url": f"http://127.0.0.1:{server.port}/"}
        browser.call("POST", "/url", page)
        browser.wait_for("#model", "rwkv-x-tiny")
        browser.type("#file", self.file("<b>.txt", text))
        browser.click("#read")
        browser.wait_for("#kept li .name", rf"<b>\.txt: {len(text):,} tokens$")
        browser.wait_until_enabled("#read")
        browser.click("#read")
        browser.wait_for("#reading-state", "are known")

        # The page that is opened again has it, too.
        browser.call("POST", "/url", page)
        browser.wait_for("#kept li .name", "<b>")
        browser.click("#kept li button")
        browser.wait_for("#text-size", "which the server keeps")
        browser.run("document.querySelector('#manner').value = 'plain'; document.querySelector('#most').value = 8")
        question = "What is the pass key? The pass key is"
        browser.type("#question", question)
        browser.click("#ask")
        browser.wait_for("#answer-state", "tokens in")
        wanted = self.output("generate", "--model", MODEL, "--prompt-file", self.file("all", text + question), "-n", 8,
                             "--temperature", 0)
        self.assertEqual(browser.run("return document.querySelector('#answer').textContent"), wanted.decode())
        browser.click("#strip button")
        browser.wait_for("#passage mark", KEY)

        # What is being read can be stopped, and is gone then.
        browser.run("setText('long', 'abcd '.repeat(7900))")
        browser.click("#read")
        browser.click("#stop-reading")
        browser.wait_for("#reading-state", "stopped")
        browser.wait_until(lambda: len(server.ask("GET", "/v1/contexts")[1]["data"]) == 1, lambda: "the text stays")
        browser.wait_until_enabled("#read")
        browser.click("#kept li button:last-child")
        browser.call("POST", "/alert/accept")
        browser.wait_until(lambda: not server.ask("GET", "/v1/contexts")[1]["data"], lambda: "the text stays")
        browser.wait_until(lambda: browser.run("return document.querySelector('#kept').hidden"), lambda: "the list stays")

    def test_narrow_and_dark_windows(self):
        server = self.serve()
        browser = Browser(self)
        browser.call("POST", "/goog/cdp/execute", {"cmd": "Emulation.setDeviceMetricsOverride", "params": {
            "width": 360, "height": 640, "deviceScaleFactor": 2, "mobile": True}})
        browser.call("POST", "/url", {"url": f"http://127.0.0.1:{server.port}/"})
        browser.wait_for("#model", "rwkv-x-tiny")
        browser.type("#file", self.file("text.txt", "w" * 3000))
        browser.type("#question", "w" * 50)
        browser.run("document.querySelector('#most').value = 20")
        browser.wait_until_enabled("#ask")
        browser.click("#ask")
        browser.wait_for("#answer-state", "tokens in")
        self.assertLessEqual(browser.run("return document.documentElement.scrollWidth"), 360)
        # Every control has a name that can be read out.
        nameless = browser.run("""return [...document.querySelectorAll("button, input, select")].filter(e => e.offsetParent &&
            !(e.textContent.trim() || e.getAttribute("aria-label") || (e.labels && e.labels.length))).map(e => e.id)""")
        self.assertEqual(nameless, [])
        lightness = """const [r, g, b] = getComputedStyle(document.querySelector("#answer")).color
            .match(/\\d+/g).map(Number); return (r + g + b) / 3"""
        found = []
        for scheme in ("light", "dark"):
            browser.call("POST", "/goog/cdp/execute", {"cmd": "Emulation.setEmulatedMedia", "params": {
                "features": [{"name": "prefers-color-scheme", "value": scheme}]}})
            found.append(browser.run(lightness))
        self.assertLess(found[0], 80)
        self.assertGreater(found[1], 180)

    def test_a_text_is_read_and_asked(self):
        server = self.serve()
        filler = "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again.\n"
        text = filler * 60 + f"The pass key is {KEY}. Remember it. {KEY} is the pass key.\n" + filler * 120
        browser = Browser(self)
        browser.call("POST", "/url", {"url": f"http://127.0.0.1:{server.port}/"})
        browser.wait_for("#model", "rwkv-x-tiny")
        browser.type("#file", self.file("text.txt", text))
        browser.wait_for("#text-size", rf"text\.txt: {len(text):,} characters")
        browser.click("#read")
        browser.wait_for("#reading-state", rf"{len(text):,} of {len(text):,} tokens read")
        self.assertEqual(browser.run("return document.activeElement.id"), "question")
        browser.click("#read")
        browser.wait_for("#reading-state", r"tokens known, \d+ of")
        browser.wait_until_enabled("#ask")

        browser.run("document.querySelector('#manner').value = 'plain'; document.querySelector('#most').value = 8")
        question = "What is the pass key? The pass key is"
        browser.type("#question", question)
        browser.click("#ask")
        browser.wait_for("#answer-state", r"8 tokens in|[1-7] tokens in")
        wanted = self.output("generate", "--model", MODEL, "--prompt-file", self.file("all", text + question), "-n", 8,
                             "--temperature", 0)
        self.assertEqual(browser.run("return document.querySelector('#answer').textContent"), wanted.decode())
        self.assertIn(KEY, wanted.decode())
        # The second question reads the question alone.
        self.assertGreater(server.metric("cached_tokens_total"), len(text) - 100)

        browser.click("#strip button")
        browser.wait_for("#passage mark", KEY)
        self.assertRegex(browser.text("#passages li"), r"\d %: ")
        self.assertTrue(browser.run("return document.activeElement.id === 'passage'"))

        # What the server refuses is said.
        browser.run("setText('long', 'x'.repeat(50000))")
        browser.click("#read")
        browser.wait_for("#alert", "40000")

        # A server that is gone, and comes back.
        server.process.kill()
        server.process.wait()
        browser.run("setText('short', 'x')")
        browser.click("#ask")
        browser.wait_for("#connection", "cannot be reached")
        self.serve(server.port)
        browser.wait_for("#connection", "Connected again")
        browser.click("#ask")
        browser.wait_for("#answer-state", "tokens in")
        # Of a large text the page holds the beginning alone.
        browser.run("setText('large', 'x'.repeat(5e6))")
        self.assertLess(len(browser.text("#preview")), 3000)


if __name__ == "__main__":
    if DRIVER is None:
        print("skipped: chromedriver is not installed")
        sys.exit(program.ALL_SKIPPED)
    program.main()
