#include "launch/signals.hpp"

#include "dist/comm/gather_values.hpp"

#include <algorithm>
#include <csignal>
#include <initializer_list>
#include <vector>

namespace longreach::launch {
namespace {

volatile std::sig_atomic_t received_signal = 0;

extern "C" void note_signal(int number) { received_signal = number; }

/// A program that nohup started outlives its terminal.
bool is_kept_ignored(int number) {
  struct sigaction before {};
  return number == SIGHUP && sigaction(number, nullptr, &before) == 0 &&
         before.sa_handler == SIG_IGN;
}

}  // namespace

StopSignals::StopSignals() {
  received_signal = 0;
  struct sigaction action {};
  action.sa_handler = note_signal;
  action.sa_flags = static_cast<int>(SA_RESETHAND | SA_RESTART);
  // Also where SIGINT was ignored before: a script's background job must be stoppable with kill
  // -INT.
  for (const int number : {SIGINT, SIGTERM, SIGHUP}) {
    if (!is_kept_ignored(number)) sigaction(number, &action, nullptr);
  }
}

StopSignals::~StopSignals() {
  for (const int number : {SIGINT, SIGTERM, SIGHUP}) {
    if (!is_kept_ignored(number)) std::signal(number, SIG_DFL);
  }
}

bool StopSignals::received() const noexcept { return received_signal != 0; }

int StopSignals::exit_code() const noexcept {
  return received_signal == 0 ? 0 : 128 + received_signal;
}

int exit_code_anywhere(const StopSignals& signals, dist::World& world) {
  const auto codes = dist::gather_values(world.communicator(), signals.exit_code());
  const auto first = std::ranges::find_if(codes, [](int code) { return code != 0; });
  return first == codes.end() ? 0 : *first;
}

}  // namespace longreach::launch
