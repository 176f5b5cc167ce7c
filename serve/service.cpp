#include "serve/service.hpp"

#include "kernels/base/error.hpp"
#include "kernels/base/seconds.hpp"

#include <memory>
#include <utility>

namespace longreach::serve {
namespace {

using generation::Event;
using generation::Finished;
using generation::FinishReason;

/// How often a loop with nothing to do asks whether it is to end.
constexpr std::chrono::milliseconds kPause(100);

}  // namespace

std::optional<JobId> Service::submit(std::vector<generation::Request> requests, JobSink sink) {
  const std::lock_guard lock(mutex_);
  if (draining_ || requests.size() > max_open_ - n_open_) return std::nullopt;
  n_open_ += requests.size();
  const JobId id = ++n_jobs_;
  inbox_.emplace_back(Submission{id, std::move(requests), std::move(sink)});
  arrived_.notify_one();
  return id;
}

void Service::cancel(JobId id) {
  const std::lock_guard lock(mutex_);
  inbox_.emplace_back(Cancellation{id});
  arrived_.notify_one();
}

void Service::post(std::function<void()> task) {
  const std::lock_guard lock(mutex_);
  inbox_.emplace_back(std::move(task));
  arrived_.notify_one();
}

void Service::drain() {
  const std::lock_guard lock(mutex_);
  draining_ = true;
}

void Service::run(const std::function<bool()>& is_asked_to_drain) {
  while (true) {
    if (is_asked_to_drain() && !draining_) drain();
    take_inbox();
    if (generator_.n_requests() > 0) {
      step();
      continue;
    }
    std::unique_lock lock(mutex_);
    if (draining_ && n_open_ == 0) return;
    if (arrived_.wait_for(lock, kPause, [this] { return !inbox_.empty(); })) continue;
    lock.unlock();
    generator_.rest();
    observe();
  }
}

void Service::take_inbox() {
  decltype(inbox_) messages;
  {
    const std::lock_guard lock(mutex_);
    messages.swap(inbox_);
  }
  for (auto& message : messages) {
    std::visit([this](auto& each) { take(std::move(each)); }, message);
  }
}

void Service::take(Submission submission) {
  const JobId id = submission.id;
  Job& job = jobs_[id];
  job = {std::move(submission.sink), {}, submission.requests.size()};
  for (std::size_t i = 0; i < submission.requests.size(); ++i) {
    const auto has_begun = std::make_shared<bool>(false);
    try {
      const generation::RequestId request = generator_.submit(
          std::move(submission.requests[i]),
          [this, id, i, has_begun](const Event& event) { pass_on(id, i, *has_begun, event); });
      job.requests.push_back(request);
    } catch (const base::InputError& error) {
      pass_on(id, i, *has_begun, Finished{.reason = FinishReason::kFailed, .error = error.what()});
    }
  }
}

void Service::take(const Cancellation& cancellation) {
  const auto job = jobs_.find(cancellation.id);
  if (job == jobs_.end()) return;
  for (const generation::RequestId request : job->second.requests) generator_.cancel(request);
}

void Service::step() {
  const auto start = std::chrono::steady_clock::now();
  const std::size_t n_before = generator_.n_tokens_read();
  generator_.step();
  const std::size_t n_rows = generator_.n_tokens_read() - n_before;
  if (n_rows > 0) metrics_.step(base::seconds_since(start), n_rows);
  observe();
}

void Service::observe() {
  running_bytes_ = generator_.running_bytes();
  prefix_bytes_ = generator_.prefix_bytes();
  std::vector<double> busy_shares = generator_.busy_shares();
  const std::lock_guard lock(mutex_);
  busy_shares_ = std::move(busy_shares);
}

void Service::pass_on(JobId id, std::size_t request, bool& has_begun, const Event& event) {
  if (!has_begun && !std::holds_alternative<Finished>(event)) {
    has_begun = true;
    ++n_running_;
  }
  Job& job = jobs_.at(id);
  const bool has_ended = std::holds_alternative<Finished>(event);
  if (has_ended) {  // a client may ask again as soon as it knows
    if (has_begun) --n_running_;
    --n_open_;
  }
  job.sink(request, event);
  if (has_ended && --job.n_left == 0) jobs_.erase(id);
}

}  // namespace longreach::serve
