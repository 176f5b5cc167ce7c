/// The job as one of its ranks sees it: all ranks that were launched together, from the start of
/// the program to its end.
#pragma once

#include "dist/comm/agreement.hpp"
#include "dist/comm/communicator.hpp"

#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>

namespace longreach::dist {

/// The name of the machine this process runs on.
std::string host_name();

/// At most one exists in a process. MPI is started only under a launcher, which tells by the
/// environment (OMPI_COMM_WORLD_SIZE, PMIX_RANK or PMI_RANK); a program started by hand is alone
/// and pays nothing.
class World {
 public:
  /// Collective over the job. Errors: CommunicationError.
  World();
  /// Ends MPI; collective over the job. Not while an error unwinds the stack, which the others may
  /// know nothing of: they would be waited for.
  ~World();
  World(const World&) = delete;
  World& operator=(const World&) = delete;

  Communicator& communicator() { return *communicator_; }
  std::size_t rank() const { return communicator_->rank(); }
  std::size_t size() const { return communicator_->size(); }
  /// Whether this rank reads, decides and reports: rank 0.
  bool leads_job() const { return rank() == 0; }
  const std::string& host() const { return host_; }

  /// Runs a phase of start-up and returns its value (movable, or void) when it has succeeded on all
  /// ranks; see dist::agree.
  template <typename Phase>
  std::invoke_result_t<Phase&> agree(Phase&& phase) {
    using Result = std::invoke_result_t<Phase&>;
    if constexpr (std::is_void_v<Result>) {
      dist::agree(*communicator_, host_, phase);
    } else {
      std::optional<Result> result;
      dist::agree(*communicator_, host_, [&] { result.emplace(phase()); });
      return std::move(*result);
    }
  }

  /// For an error after start-up, when the other ranks can no longer be asked: reports it on
  /// standard error, in one line with rank and host, and ends all ranks with exit code 2.
  [[noreturn]] void abort_all(const std::string& message) noexcept;

 private:
  bool under_launcher_;
  int n_exceptions_;
  std::string host_;
  std::unique_ptr<Communicator> communicator_;
};

}  // namespace longreach::dist
