/// How the ranks of a job agree that a phase of start-up went well, so that no rank waits for ever
/// for one that failed.
#pragma once

#include "dist/comm/communicator.hpp"

#include <functional>
#include <stdexcept>
#include <string>

namespace longreach::dist {

/// A phase failed on some rank. Thrown on all ranks with the same sentence, which the leader tells;
/// all ranks can end normally.
class AgreedError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Runs a phase on all ranks and returns when it has succeeded on all of them. A phase
/// communicates, if at all, before anything in it can fail: a rank that fails would be waited for.
/// Collective. Errors: AgreedError with the sentence of the lowest failing rank, as in `rank 3 on
/// node7: /x/y.pth: cannot be opened (and 2 more ranks)`, or without a rank when all failed for the
/// same reason; with one rank, whatever the phase throws.
void agree(Communicator& communicator, const std::string& host, const std::function<void()>& phase);

}  // namespace longreach::dist
