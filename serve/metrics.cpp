#include "serve/metrics.hpp"

#include "kernels/base/error.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace longreach::serve {
namespace {

/// A label's value: quotes, backslashes and line ends have a form of their own.
std::string escaped(std::string_view value) {
  std::string text;
  for (const char c : value) {
    if (c == '\n') {
      text += "\\n";
      continue;
    }
    if (c == '"' || c == '\\') text += '\\';
    text += c;
  }
  return text;
}

void head(std::string& text, std::string_view name, std::string_view type, std::string_view help) {
  text += fmt::format("# HELP longreach_{} {}\n# TYPE longreach_{} {}\n", name, help, name, type);
}

void single(std::string& text, std::string_view name, std::string_view type, std::string_view help,
            std::size_t value) {
  head(text, name, type, help);
  text += fmt::format("longreach_{} {}\n", name, value);
}

const std::vector<double> kWaits = {0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1,    2.5,
                                    5,    10,    30,   60,  120,  300, 1200, 3600};
const std::vector<double> kTokens = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05,
                                     0.1,   0.25,   0.5,   1,    2.5,   10};
const std::vector<double> kRows = {1, 2, 4, 8, 16, 32, 64, 128, 256, 512};

}  // namespace

Histogram::Histogram(std::vector<double> bounds)
    : bounds_(std::move(bounds)), counts_(bounds_.size() + 1) {}

void Histogram::observe(double value) {
  const auto bound = std::ranges::lower_bound(bounds_, value);
  ++counts_[static_cast<std::size_t>(bound - bounds_.begin())];
  sum_ += value;
}

void Histogram::write(std::string& text, std::string_view name, std::string_view help) const {
  head(text, name, "histogram", help);
  std::size_t n = 0;
  for (std::size_t i = 0; i < bounds_.size(); ++i) {
    n += counts_[i];
    text += fmt::format("longreach_{}_bucket{{le=\"{}\"}} {}\n", name, bounds_[i], n);
  }
  n += counts_.back();
  text += fmt::format("longreach_{}_bucket{{le=\"+Inf\"}} {}\n", name, n);
  text += fmt::format("longreach_{}_sum {}\nlongreach_{}_count {}\n", name, sum_, name, n);
}

Metrics::Metrics()
    : waiting_(kWaits),
      first_token_(kWaits),
      next_token_(kTokens),
      prompt_(kWaits),
      decoding_(kWaits),
      step_seconds_(kTokens),
      step_rows_(kRows) {}

void Metrics::waited(double seconds) {
  const std::lock_guard lock(mutex_);
  waiting_.observe(seconds);
}
void Metrics::first_token(double seconds) {
  const std::lock_guard lock(mutex_);
  first_token_.observe(seconds);
}
void Metrics::next_token(double seconds) {
  const std::lock_guard lock(mutex_);
  next_token_.observe(seconds);
}
void Metrics::read_prompt(double seconds) {
  const std::lock_guard lock(mutex_);
  prompt_.observe(seconds);
}
void Metrics::decoded(double seconds) {
  const std::lock_guard lock(mutex_);
  decoding_.observe(seconds);
}
void Metrics::step(double seconds, std::size_t n_rows) {
  const std::lock_guard lock(mutex_);
  step_seconds_.observe(seconds);
  step_rows_.observe(static_cast<double>(n_rows));
}
void Metrics::answered(unsigned status) {
  const std::lock_guard lock(mutex_);
  ++n_answered_[status];
}

void Metrics::ended(const Ended& request) {
  const std::lock_guard lock(mutex_);
  ++n_ended_[std::string(request.finish_reason)];
  n_prompt_ += request.n_prompt;
  n_cached_ += request.n_cached;
  n_generated_ += request.n_generated;
}

std::string Metrics::text(const Moment& now, std::string_view version,
                          std::string_view model) const {
  const std::lock_guard lock(mutex_);
  std::string text;
  head(text, "build_info", "gauge", "What is served, always 1");
  text += fmt::format("longreach_build_info{{version=\"{}\",model=\"{}\"}} 1\n", escaped(version),
                      escaped(model));
  single(text, "requests_running", "gauge", "Texts that are being read or generated",
         now.n_running);
  single(text, "requests_waiting", "gauge", "Texts that wait for their turn", now.n_waiting);
  head(text, "cache_bytes", "gauge", "Memory of texts, on the rank with least room, by use");
  text += fmt::format("longreach_cache_bytes{{use=\"running\"}} {}\n", now.running_bytes);
  text += fmt::format("longreach_cache_bytes{{use=\"prefixes\"}} {}\n", now.prefix_bytes);
  head(text, "rank_busy_ratio", "gauge", "Share of the last second in which a rank computed");
  for (std::size_t rank = 0; rank < now.busy_shares.size(); ++rank) {
    text += fmt::format("longreach_rank_busy_ratio{{rank=\"{}\"}} {:.3f}\n", rank,
                        now.busy_shares[rank]);
  }
  if (now.contexts) {
    single(text, "contexts_disk_bytes", "gauge", "Disk that contexts take", now.contexts->n_bytes);
    single(text, "contexts_disk_budget_bytes", "gauge", "Disk up to which prompts are kept",
           now.contexts->budget_bytes);
    single(text, "contexts_evicted_total", "counter", "Kept prompts that gave way to others",
           now.contexts->n_evicted);
  }
  head(text, "requests_total", "counter", "Texts that have ended, by reason");
  for (const auto& [reason, n] : n_ended_) {
    text += fmt::format("longreach_requests_total{{finish_reason=\"{}\"}} {}\n", reason, n);
  }
  head(text, "http_responses_total", "counter", "HTTP responses, by status");
  for (const auto& [status, n] : n_answered_) {
    text += fmt::format("longreach_http_responses_total{{status=\"{}\"}} {}\n", status, n);
  }
  single(text, "prompt_tokens_total", "counter", "Tokens of prompts that have ended", n_prompt_);
  single(text, "cached_tokens_total", "counter", "Of these, known from earlier ones", n_cached_);
  single(text, "generation_tokens_total", "counter", "Tokens generated", n_generated_);
  waiting_.write(text, "request_queue_seconds", "From a request to its first tokens being read");
  first_token_.write(text, "time_to_first_token_seconds", "From a request to its first token");
  next_token_.write(text, "inter_token_latency_seconds", "Between two tokens of a text");
  prompt_.write(text, "prompt_seconds", "Of reading a prompt");
  decoding_.write(text, "decode_seconds", "From a text's first token to its last");
  step_seconds_.write(text, "step_seconds", "Of a pass through the model");
  step_rows_.write(text, "step_rows", "Tokens in a pass through the model");
  return text;
}

}  // namespace longreach::serve
