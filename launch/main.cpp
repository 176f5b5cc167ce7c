/// The program `longreach`: options -> command -> exit code. Exit codes: 0; 2 with one sentence on
/// standard error for anything outside that is not as it must be; 128 + the signal's number when
/// stopped by one.
#include "kernels/base/error.hpp"
#include "launch/eval.hpp"
#include "launch/generate.hpp"
#include "launch/inspect.hpp"
#include "launch/logits.hpp"
#include "launch/options.hpp"
#include "launch/plan.hpp"
#include "launch/standard_streams.hpp"
#include "launch/tokenize.hpp"

#include <algorithm>
#include <cstdio>
#include <exception>
#include <new>
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
int report(std::string sentence) {
  std::replace_if(
      sentence.begin(), sentence.end(), [](unsigned char c) { return c < ' ' || c == 0x7f; }, ' ');
  fmt::print(stderr, "longreach: {}\n", sentence);
  return kBadInput;
}

}  // namespace
}  // namespace longreach::launch

int main(int argc, char** argv) {
  using namespace longreach::launch;
  try {
    ignore_broken_pipes();
    return std::visit([](const auto& options) { return run(options); }, parse_options(argc, argv));
  } catch (const std::bad_alloc&) {
    return report("not enough memory");
  } catch (const std::exception& error) {
    return report(error.what());
  }
}
