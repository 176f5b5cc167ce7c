/// The loop around the generator: requests come in from other threads, their events go out to them.
#pragma once

#include "generation/generator.hpp"
#include "generation/request.hpp"
#include "serve/metrics.hpp"

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <variant>
#include <vector>

namespace longreach::serve {

using JobId = std::uint64_t;

/// Takes the events of a job's requests, in order for each; called on the thread of the loop.
using JobSink = std::function<void(std::size_t request, const generation::Event& event)>;

/// Jobs are one request or several that come and are given up together.
class Service {
 public:
  /// At most so many requests that have not finished. The generator and metrics must outlive it;
  /// the generator's queue must hold as many.
  Service(generation::Generator& generator, std::size_t max_open, Metrics& metrics)
      : generator_(generator), max_open_(max_open), metrics_(metrics) {}

  // From any thread:

  /// Takes a job, or none if there is no room for all of it or no job is taken any more. A request
  /// that the generator refuses ends as failed.
  std::optional<JobId> submit(std::vector<generation::Request> requests, JobSink sink);
  /// Ends what has not finished of a job before the next step.
  void cancel(JobId id);
  /// Runs something on the thread of the loop, between steps.
  void post(std::function<void()> task);
  /// No job is taken any more.
  void drain();
  bool draining() const { return draining_; }
  std::size_t max_open() const { return max_open_; }
  /// Requests that have not finished, and those of them that are being read or generated.
  std::size_t n_open() const { return n_open_; }
  std::size_t n_running() const { return n_running_; }
  /// See generation::Generator.
  std::size_t running_bytes() const { return running_bytes_; }
  std::size_t prefix_bytes() const { return prefix_bytes_; }
  std::vector<double> busy_shares() const {
    const std::lock_guard lock(mutex_);
    return busy_shares_;
  }

  // On the thread that the generator belongs to:

  /// Runs jobs until it is asked to drain (asked several times a second, and between steps, also
  /// after that) and all requests of the generator have finished. Errors: those of the engine.
  void run(const std::function<bool()>& is_asked_to_drain);

 private:
  struct Submission {
    JobId id = 0;
    std::vector<generation::Request> requests;
    JobSink sink;
  };
  struct Cancellation {
    JobId id = 0;
  };
  struct Job {
    JobSink sink;
    std::vector<generation::RequestId> requests;
    std::size_t n_left = 0;  ///< Requests that have not finished.
  };

  void take(Submission submission);
  void take(const Cancellation& cancellation);
  void take(const std::function<void()>& task) { task(); }
  void take_inbox();
  void step();
  /// Makes known what the generator says of itself.
  void observe();
  /// An event of a request; the last one ends it.
  void pass_on(JobId id, std::size_t request, bool& has_begun, const generation::Event& event);

  generation::Generator& generator_;
  std::size_t max_open_;
  Metrics& metrics_;
  std::map<JobId, Job> jobs_;

  mutable std::mutex mutex_;
  std::condition_variable arrived_;
  std::vector<std::variant<Submission, Cancellation, std::function<void()>>> inbox_;
  JobId n_jobs_ = 0;
  std::vector<double> busy_shares_;  ///< Of each rank.
  std::atomic<std::size_t> n_open_ = 0, n_running_ = 0, running_bytes_ = 0, prefix_bytes_ = 0;
  std::atomic<bool> draining_ = false;
};

}  // namespace longreach::serve
