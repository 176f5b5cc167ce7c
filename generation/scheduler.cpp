#include "generation/scheduler.hpp"

#include "kernels/base/error.hpp"

#include <algorithm>

namespace longreach::generation {
namespace {

/// While prompts are read beside decoding, one step in so many has decoding rows alone, so that
/// their cost stays known when contexts grow.
constexpr std::size_t kMeasureEvery = 64;

}  // namespace

void Scheduler::add(RequestId id, const RequestSize& size) {
  LR_CHECK(fits(size.bytes) && !queue_is_full());
  const auto place = std::ranges::upper_bound(waiting_, size.priority, std::greater<>(),
                                              [](const Waiting& w) { return w.size.priority; });
  waiting_.insert(place, {id, size});
}

std::optional<RequestId> Scheduler::begin_next(const std::function<bool(RequestId)>& may_begin) {
  if (running_.size() >= options_.max_running) return std::nullopt;
  const auto next =
      std::ranges::find_if(waiting_, [&](const Waiting& w) { return may_begin(w.id); });
  if (next == waiting_.end()) return std::nullopt;
  // Alone it begins even where something is reserved, as nothing else would give that back.
  const std::size_t taken = running_.empty() ? 0 : running_bytes_ + reserved_bytes_;
  if (taken > options_.memory_bytes || next->size.bytes > options_.memory_bytes - taken) {
    return std::nullopt;
  }
  const Waiting request = *next;
  waiting_.erase(next);
  running_bytes_ += request.size.bytes;
  running_[request.id] = {.bytes = request.size.bytes};
  set_prompt(request.id, request.size.n_prompt, request.size.n_prompt);
  return request.id;
}

void Scheduler::remove(RequestId id) {
  std::erase_if(waiting_, [id](const Waiting& w) { return w.id == id; });
  const auto found = running_.find(id);
  if (found == running_.end()) return;
  running_bytes_ -= found->second.bytes;
  running_.erase(found);
}

void Scheduler::set_bytes(RequestId id, std::size_t bytes) {
  Running& request = running_.at(id);
  running_bytes_ += bytes - request.bytes;
  request.bytes = bytes;
}

void Scheduler::set_prompt(RequestId id, std::size_t n_left, std::size_t n_until_border,
                           std::size_t n_per_step) {
  LR_CHECK(n_until_border >= 1 && n_until_border <= n_left);
  Running& request = running_.at(id);
  request.phase = Phase::kPrompt;
  request.n_left = n_left;
  request.n_until_border = n_until_border;
  request.n_per_step = n_per_step;
}

void Scheduler::set_under_way(RequestId id) { running_.at(id).phase = Phase::kUnderWay; }

void Scheduler::set_ready(RequestId id) {
  Running& request = running_.at(id);
  request.phase = Phase::kReady;
  request.since = n_changes_++;
}

std::size_t Scheduler::n_decoding() const {
  return static_cast<std::size_t>(std::ranges::count_if(
      running_, [](const auto& each) { return each.second.phase != Phase::kPrompt; }));
}

std::size_t Scheduler::decoding_share() const {
  return (n_decoding() + options_.n_steps - 1) / options_.n_steps;
}

std::vector<RequestId> Scheduler::in_phase(Phase phase) const {
  std::vector<RequestId> ids;
  for (const auto& [id, request] : running_) {
    if (request.phase == phase) ids.push_back(id);
  }
  return ids;
}

std::vector<RequestRows> Scheduler::next_step() {
  std::vector<RequestId> ready = in_phase(Phase::kReady);
  std::ranges::sort(ready, {}, [this](RequestId id) { return running_.at(id).since; });
  ready.resize(std::min({ready.size(), decoding_share(), options_.max_rows}));
  std::vector<RequestRows> step;
  for (const RequestId id : ready) step.push_back({id, 1});
  last_step_ = {.n_decoding = step.size(), .n_prompt = 0};
  deal(prompt_rows(step.size()), step);
  return step;
}

std::size_t Scheduler::most_rows() const {
  if (options_.step_seconds != kNoLimit || !row_seconds_) return options_.max_rows;
  std::size_t n_asked = 0;
  for (const auto& [id, request] : running_) {
    if (request.phase == Phase::kPrompt) n_asked = std::max(n_asked, request.n_per_step);
  }
  const auto n_in_time = static_cast<std::size_t>(kLongestStep / *row_seconds_);
  // A multiple, as the steps of a prompt then end together with those of max_rows.
  const std::size_t n_rows = std::min(n_asked, n_in_time);
  return std::max(n_rows - n_rows % options_.max_rows, options_.max_rows);
}

std::size_t Scheduler::prompt_rows(std::size_t n_decoding_rows) {
  const std::size_t most = most_rows() - n_decoding_rows;
  if (n_decoding() == 0 || options_.step_seconds == kNoLimit) return most;
  const bool is_known = cost_.decoding_seconds(n_decoding_rows).has_value();
  if (n_decoding_rows > 0 && (!is_known || n_mixed_ >= kMeasureEvery)) return 0;
  // Sequences in steps that are under way wait for this one, too, even if it has none of theirs.
  std::size_t n_plain = std::max(n_decoding_rows, decoding_share());
  if (!cost_.decoding_seconds(n_plain)) n_plain = n_decoding_rows;
  const double plain = cost_.decoding_seconds(n_plain).value_or(0);
  const double budget = options_.step_seconds.value_or(kPlainSteps * plain);
  return std::min(most, cost_.prompt_rows_within(budget, n_plain));
}

void Scheduler::deal(std::size_t n_rows, std::vector<RequestRows>& step) {
  std::vector<RequestId> prompts = in_phase(Phase::kPrompt);
  if (prompts.empty() || n_rows == 0) return;
  std::size_t n_wanted = 0;
  for (const RequestId id : prompts) n_wanted += running_.at(id).n_until_border;
  n_rows = std::min(n_rows, n_wanted);
  std::map<RequestId, std::size_t> dealt;
  const auto give = [&](RequestId id, std::size_t most) {
    const std::size_t n = std::min({running_.at(id).n_until_border - dealt[id], most, n_rows});
    dealt[id] += n;
    n_rows -= n;
    return static_cast<double>(n);
  };
  const RequestId shortest = *std::ranges::min_element(
      prompts, {}, [this](RequestId id) { return running_.at(id).n_left; });
  give(shortest, (n_rows + 1) / 2);

  const double quantum = static_cast<double>(n_rows) / static_cast<double>(prompts.size());
  for (const RequestId id : prompts) running_.at(id).credit += quantum;
  std::ranges::stable_sort(prompts, std::greater<>(),
                           [this](RequestId id) { return running_.at(id).credit; });
  for (const RequestId id : prompts) {
    double& credit = running_.at(id).credit;
    credit -= give(id, static_cast<std::size_t>(std::max(credit, 1.0)));
  }
  // What some cannot take is not saved up for them, and goes to others.
  for (const RequestId id : prompts) {
    Running& request = running_.at(id);
    give(id, n_rows);
    if (dealt[id] == request.n_until_border) request.credit = std::min(request.credit, 0.0);
  }
  for (const auto& [id, n] : dealt) {
    if (n > 0) step.push_back({id, n});
    last_step_.n_prompt += n;
  }
}

void Scheduler::observe(double seconds) {
  cost_.observe(last_step_, seconds);
  if (last_step_.n_decoding == 0 && last_step_.n_prompt > 0) {
    constexpr double kShortest = 1e-9;  // of a row: a clock may stand still
    row_seconds_ = std::max(seconds / static_cast<double>(last_step_.n_prompt), kShortest);
  }
  if (last_step_.n_decoding > 0) n_mixed_ = last_step_.n_prompt > 0 ? n_mixed_ + 1 : 0;
}

}  // namespace longreach::generation
