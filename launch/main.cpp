/// The program `longreach`: options -> command -> exit code, on every rank of the job. Exit codes:
/// 0; 2 with one sentence on standard error, reported by one rank, for anything outside that is not
/// as it must be; 128 + the signal's number when stopped by one.
#include "dist/comm/world.hpp"
#include "kernels/base/error.hpp"
#include "kernels/base/write_all.hpp"
#include "launch/commands/bench.hpp"
#include "launch/commands/bench_serve.hpp"
#include "launch/commands/context.hpp"
#include "launch/commands/convert.hpp"
#include "launch/commands/eval.hpp"
#include "launch/commands/generate.hpp"
#include "launch/commands/inspect.hpp"
#include "launch/commands/logits.hpp"
#include "launch/commands/plan.hpp"
#include "launch/commands/read.hpp"
#include "launch/commands/serve.hpp"
#include "launch/commands/tokenize.hpp"
#include "launch/machine/machine.hpp"
#include "launch/options/options.hpp"
#include "launch/standard_streams.hpp"

#include <algorithm>
#include <exception>
#include <new>
#include <span>
#include <string>
#include <variant>

namespace longreach::launch {
namespace {

constexpr int kBadInput = 2;

int run(const HelpText& help) {
  write_output(help.text);
  return 0;
}

/// Names of files and tensors are quoted in messages; whatever they hold, a message stays one line.
std::string one_line(std::string sentence) {
  std::replace_if(
      sentence.begin(), sentence.end(), [](unsigned char c) { return c < ' ' || c == 0x7f; }, ' ');
  return sentence;
}

int report(const std::string& sentence) {
  base::write_message(fmt::format("longreach: {}\n", one_line(sentence)));
  return kBadInput;
}

/// Calls `run`, and `failed` with a sentence about what it threw.
template <typename Run, typename Failed>
int guarded(const Run& run, const Failed& failed) {
  try {
    return run();
  } catch (const std::bad_alloc&) {
    return failed("not enough memory");
  } catch (const std::exception& error) {
    return failed(error.what());
  }
}

/// For commands that are not divided among ranks: the leader runs it, the others wait and leave
/// with its exit code.
template <typename Run>
int run_on_leader(dist::World& world, const Run& run) {
  int exit_code = world.leads_job() ? guarded(run, report) : 0;
  world.communicator().broadcast(std::as_writable_bytes(std::span(&exit_code, 1)), 0);
  return exit_code;
}

int run_command(dist::World& world, int argc, const char* const* argv) {
  const Command command = world.agree([&] { return parse_options(argc, argv); });
  return std::visit(
      [&world](const auto& options) {
        if constexpr (requires { run(options, world); }) {
          return run(options, world);
        } else {
          return run_on_leader(world, [&options] { return run(options); });
        }
      },
      command);
}

/// What all ranks agreed on the leader reports, and all end normally. After any other error of a
/// rank among several nobody knows what the others wait for.
int run_job(dist::World& world, int argc, const char* const* argv) {
  const auto failed = [&world](const std::string& sentence) {
    if (world.size() > 1) world.abort_all(one_line(sentence));
    return report(sentence);
  };
  return guarded(
      [&] {
        try {
          return run_command(world, argc, argv);
        } catch (const dist::AgreedError& error) {
          return world.leads_job() ? report(error.what()) : kBadInput;
        }
      },
      failed);
}

}  // namespace
}  // namespace longreach::launch

int main(int argc, char** argv) {
  using namespace longreach;
  launch::prepare_standard_streams();
  return launch::guarded(
      [&] {
        launch::prepare_message_passing();
        dist::World world;
        return launch::run_job(world, argc, argv);
      },
      launch::report);
}
