#!/usr/bin/env python3
"""Fails when a source file includes something its folder must not know, or its own header not first.

    layering_test.py [ROOT]        ROOT is the repository, by default the one this file lies in

The tables below are the rule; the folders' README.md files say why. Before the sources are read, the
rules are tried on planted examples, so that a checker that sees nothing cannot pass.
"""
import pathlib
import re
import sys

# Project folders a folder may include from; its own is always allowed. A folder reaches everything
# below it. Tests and benchmarks may include any of these, and nothing may include them.
LAYERS = {
    "kernels/base": set(),
    "kernels": {"kernels/base"},
    "partition": {"kernels/base"},
    "model": {"kernels/base", "kernels", "partition"},
    "dist": {"kernels/base", "kernels", "partition", "model"},
    "generation": {"kernels/base", "kernels", "partition", "model", "dist"},
    "eval": {"kernels/base", "kernels", "partition", "model", "dist", "generation"},
    "serve": {"kernels/base", "kernels", "partition", "model", "dist", "generation"},
    "launch": {"kernels/base", "kernels", "partition", "model", "dist", "generation", "eval", "serve"},
}
USERS = ("tests", "bench")

# Outside headers that only some folders may include.
ONLY_IN = [
    (r"mpi\.h", {"dist"}, "MPI belongs to dist"),
    (r"hwloc(/.*|\.h)", {"launch"}, "the machine is discovered in launch"),
    (r"CLI/.*", {"launch"}, "the command line belongs to launch"),
    (r"spdlog/.*", {"launch"}, "only launch logs; the others return or throw"),
    (r"uni(case|ctype|str)\.h", {"eval"}, "alphabets are a matter of scores"),
    (r"boost/.*", {"serve"}, "HTTP belongs to serve"),
    (r"hwy/.*", {"kernels"}, "instruction sets are a matter of kernels"),
]

# Outside headers that no header of the project may include: they cost seconds in every file that uses it. What only
# declares their types is cheap.
NEVER_IN_HEADERS = r"(nlohmann/(?!json_fwd\.hpp)|CLI/|spdlog/|hwy/|cereal/|boost/).*"

# Files of this ending are no headers but parts of the .cpp files of their folder: Highway compiles such a part
# once for every instruction set.
PART_OF_SOURCE = "-inl.hpp"

# Standard headers a folder must do without.
WITHOUT = {
    "kernels": (r"filesystem|fstream|iostream", "kernels knows no files"),
    "partition": (r"filesystem|fstream|iostream|thread|mutex|chrono|ctime",
                  "partition is pure: no files, clocks or threads"),
    "model": (r"iostream", "model does not print: it returns or throws"),
    "dist": (r"iostream", "dist does not print: it returns or throws"),
    "generation": (r"filesystem|fstream|iostream", "generation knows no files: it returns or throws"),
    "serve": (r"filesystem|fstream|iostream", "no client's words become the name of a file"),
}

SOURCES = {".cpp", ".hpp", ".h", ".inc"}
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"\n]+)[>"]', re.MULTILINE)
BLOCK_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)


def folder_of(path):
    """The layer a path relative to the root belongs to, e.g. kernels/base/error.hpp -> kernels/base; or None."""
    if path.startswith("kernels/base/"):
        return "kernels/base"
    top = path.split("/")[0] if "/" in path else ""
    return top if top in LAYERS or top in USERS else None


def violations(path, text):
    """Sentences about the forbidden includes of one source file; `path` is relative to the root."""
    folder, found = folder_of(path), []
    in_header = not path.endswith((".cpp", PART_OF_SOURCE))
    for match in INCLUDE.finditer(BLOCK_COMMENT.sub("", text)):
        quoted, header = match[1] == '"', match[2]
        target = folder_of(header)
        reason = None
        if target in USERS and folder not in USERS:
            reason = "tests and benchmarks are included by nothing"
        elif target in LAYERS and folder in LAYERS and target != folder and target not in LAYERS[folder]:
            reason = f"{folder} must not know {target}"
        elif header.endswith(PART_OF_SOURCE) and (in_header or target != folder):
            reason = "a part of source files, for the .cpp files of its folder only"
        elif target is None and quoted:
            reason = "project includes start at the root of the repository, others stand in <>"
        elif target is None and folder in LAYERS:
            reason = next((why for pattern, folders, why in ONLY_IN
                           if re.fullmatch(pattern, header) and folder not in folders), None)
            pattern, why = WITHOUT.get(folder, ("", ""))
            if reason is None and pattern and re.fullmatch(pattern, header):
                reason = why
            if reason is None and in_header and re.fullmatch(NEVER_IN_HEADERS, header):
                reason = "too heavy for a header: include it in a .cpp"
        if reason:
            found.append(f"{path}: includes {header}: {reason}")
    return found


def own_header_not_first(path, text):
    """A sentence if a .cpp file that has a header of its name includes another before it, else None. So every such
    header is compiled without help from others; the build compiles alone those that have no .cpp file."""
    first = INCLUDE.search(BLOCK_COMMENT.sub("", text))
    header = path.removesuffix(".cpp") + ".hpp"
    return None if first and first[2] == header else f"{path}: does not include {header} first"


# Examples the rules must refuse, and examples they must let pass.
FORBIDDEN = [
    ("kernels/base/types.hpp", '#include "kernels/matmul.hpp"'),
    ("kernels/matmul.cpp", '#include "model/checkpoint/tensor.hpp"'),
    ("kernels/matmul.cpp", "#include <fstream>"),
    ("kernels/matmul.hpp", "#include <hwy/highway.h>"),
    ("kernels/matmul.hpp", '#include "kernels/simd/simd-inl.hpp"'),
    ("model/forward.cpp", '#include "kernels/simd/simd-inl.hpp"'),
    ("partition/plan.cpp", '#include "kernels/matmul.hpp"'),
    ("partition/plan.cpp", "#include <chrono>"),
    ("model/forward.cpp", '#include "dist/engine/engine.hpp"'),
    ("model/forward.cpp", "#  include <mpi.h>"),
    ("model/forward.cpp", "#include <hwy/highway.h>"),
    ("model/forward.cpp", "#include <spdlog/spdlog.h>"),
    ("model/schema/config.hpp", "#include <nlohmann/json.hpp>"),
    ("dist/engine/engine.cpp", '#include "launch/options/options.hpp"'),
    ("dist/engine/engine.cpp", "#include <hwloc.h>"),
    ("dist/engine/engine.cpp", '#include "generation/generator.hpp"'),
    ("generation/scheduler.cpp", '#include "eval/task.hpp"'),
    ("generation/generator.cpp", "#include <fstream>"),
    ("eval/passkey.cpp", "#include <mpi.h>"),
    ("eval/passkey.cpp", '#include "serve/api.hpp"'),
    ("serve/service.cpp", '#include "eval/task.hpp"'),
    ("serve/service.cpp", "#include <mpi.h>"),
    ("serve/api.cpp", "#include <fstream>"),
    ("serve/http_server.hpp", "#include <boost/beast.hpp>"),
    ("launch/commands/serve.cpp", "#include <boost/asio.hpp>"),
    ("model/tokenizer/tokenizer.cpp", "#include <unicase.h>"),
    ("launch/main.cpp", "#include <mpi.h>"),
    ("launch/options/options.hpp", "#include <CLI/CLI.hpp>"),
    ("dist/comm/machine_report.hpp", "#include <cereal/cereal.hpp>"),
    ("launch/main.cpp", '#include "tests/support/random.hpp"'),
    ("model/forward.cpp", '#include "tensor.hpp"'),
    ("tests/model/forward_test.cpp", '#include "../forward.hpp"'),
    ("model/forward.cpp", "/* a comment\n over lines */\n#include <mpi.h>"),
]
ALLOWED = [
    ("kernels/base/error.hpp", "#include <fmt/format.h>"),
    ("kernels/base/json.hpp", "#include <nlohmann/json_fwd.hpp>"),
    ("kernels/matmul.cpp", '#include "kernels/matmul.hpp"\n#include <hwy/highway.h>'),
    ("kernels/simd/simd-inl.hpp", "#include <hwy/highway.h>"),
    ("kernels/matmul.cpp", '#include "kernels/simd/simd-inl.hpp"'),
    ("model/schema/config.cpp", '#include "kernels/base/error.hpp"\n#include <nlohmann/json.hpp>'),
    ("model/forward.cpp", '#include "kernels/matmul.hpp"\n#include "partition/plan.hpp"'),
    ("dist/comm.cpp", "#include <mpi.h>"),
    ("serve/http_server.cpp", "#include <boost/beast.hpp>"),
    ("launch/main.cpp", '#include "dist/engine/engine.hpp"\n#include <CLI/CLI.hpp>\n#include <hwloc.h>'),
    ("tests/dist/comm_test.cpp", '#include <mpi.h>\n#include "dist/comm.hpp"\n#include "tests/support/random.hpp"'),
    ("model/forward.cpp", "// #include <mpi.h>\n/* #include <mpi.h> */"),
]


def self_test():
    """Faults of the checker itself, as sentences."""
    faults = [f"does not refuse in {path}: {text!r}" for path, text in FORBIDDEN if len(violations(path, text)) != 1]
    faults += [f"refuses without reason: {text}" for path, code in ALLOWED for text in violations(path, code)]
    for code in ("", '#include <vector>\n#include "model/state.hpp"'):
        if not own_header_not_first("model/state.cpp", code):
            faults.append(f"does not refuse in model/state.cpp: {code!r}")
    if own_header_not_first("model/state.cpp", '// State.\n#include "model/state.hpp"\n#include <vector>'):
        faults.append("refuses an own header that stands first")
    return faults


def main():
    root = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else pathlib.Path(__file__).resolve().parent.parent
    files = sorted(path for folder in (*LAYERS, *USERS) for path in (root / folder).rglob("*")
                   if path.suffix in SOURCES)
    files = list(dict.fromkeys(files))  # kernels/base also lies below kernels
    faults = [f"layering_test.py {fault}" for fault in self_test()]
    if not files:
        faults.append(f"{root}: no sources found")
    for path in files:
        name, text = path.relative_to(root).as_posix(), path.read_text(encoding="utf-8")
        faults += violations(name, text)
        if path.suffix == ".cpp" and path.with_suffix(".hpp").exists():
            faults += filter(None, [own_header_not_first(name, text)])
    for fault in faults:
        print(fault)
    print(f"{len(files)} files, {len(FORBIDDEN) + len(ALLOWED)} planted examples, {len(faults)} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
