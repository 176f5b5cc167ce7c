/// Ctrl-C and termination as a question that is asked where a run can stop cleanly.
#pragma once

#include "dist/comm/world.hpp"

namespace longreach::launch {

/// While one exists, the first SIGINT, SIGTERM and SIGHUP (unless that is ignored, as by nohup) are
/// noted instead of ending the process; the next one of the same kind ends it at once. At most one
/// exists at a time.
class StopSignals {
 public:
  StopSignals();
  ~StopSignals();
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;

  /// Whether a signal has come.
  bool received() const noexcept;
  /// The exit code shells expect: 128 + the signal's number; 0 when none has come.
  int exit_code() const noexcept;
};

/// The exit code of the lowest rank to which a signal has come; 0 when none has. Collective.
int exit_code_anywhere(const StopSignals& signals, dist::World& world);

}  // namespace longreach::launch
