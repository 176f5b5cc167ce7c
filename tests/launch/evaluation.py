"""What the tests of the command eval share."""
import json

import job
from program import MODEL

PASSKEY = ("--lengths", "300,700", "--depths", "3", "--samples", "2", "--seed", "4")


class EvalTest(job.JobTest):
    def setUp(self):
        super().setUp()
        self.out = self.folder / "r.jsonl"

    def command(self, *args, task="passkey", out=None):
        return ["eval", task, "--model", MODEL, *args, "--out", out or self.out]

    def evaluate(self, *args, **options):
        """The results of a run that must succeed."""
        self.output(*self.command(*args, **options))
        return self.results(options.get("out"))

    def results(self, path=None):
        return [json.loads(line) for line in (path or self.out).read_text().splitlines()]

    def without_times(self, path=None):
        return [{name: value for name, value in result.items() if name != "seconds"} for result in self.results(path)]

    def without_grid(self, path=None):
        return [{name: value for name, value in result.items() if name != "grid"} for result in self.without_times(path)]

    def question_file(self, *lines):
        return self.file("questions.jsonl", "\n".join(line if isinstance(line, str) else json.dumps(line)
                                                      for line in lines) + "\n")
