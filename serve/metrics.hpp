/// Figures for Prometheus, in its text format.
#pragma once

#include "serve/context_library.hpp"

#include <cstddef>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace longreach::serve {

/// How often values were at most each of some bounds.
class Histogram {
 public:
  /// Bounds in seconds, rising.
  explicit Histogram(std::vector<double> bounds);
  void observe(double value);
  /// Appends its lines: buckets, sum and count.
  void write(std::string& text, std::string_view name, std::string_view help) const;

 private:
  std::vector<double> bounds_;
  std::vector<std::size_t> counts_;  ///< Of each bound, and of what is above the last one.
  double sum_ = 0;
};

/// What is counted from the start of the server on. All members may be called from any thread.
class Metrics {
 public:
  Metrics();

  /// What became of a request for one text: an HTTP request may want several.
  struct Ended {
    std::string_view finish_reason;                           ///< As generation::name_of.
    std::size_t n_prompt = 0, n_cached = 0, n_generated = 0;  ///< Tokens.
  };

  /// From when it came to when its first tokens were read.
  void waited(double seconds);
  /// From when it came to its first token.
  void first_token(double seconds);
  /// Between two tokens of a text.
  void next_token(double seconds);
  /// Of reading a prompt, from its first tokens to the first generated one.
  void read_prompt(double seconds);
  /// From the first generated token to the last one.
  void decoded(double seconds);
  void ended(const Ended& request);
  void step(double seconds, std::size_t n_rows);
  /// An answer of HTTP.
  void answered(unsigned status);

  /// What the caller knows of this moment.
  struct Moment {
    std::size_t n_running = 0, n_waiting = 0;         ///< Texts.
    std::size_t running_bytes = 0, prefix_bytes = 0;  ///< See generation::Generator.
    std::vector<double> busy_shares = {};             ///< By rank; see dist::Engine.
    std::optional<ContextUsage> contexts = {};        ///< None where none are kept.
  };
  std::string text(const Moment& now, std::string_view version, std::string_view model) const;

 private:
  mutable std::mutex mutex_;
  Histogram waiting_, first_token_, next_token_, prompt_, decoding_, step_seconds_, step_rows_;
  std::map<std::string, std::size_t, std::less<>> n_ended_;
  std::map<unsigned, std::size_t> n_answered_;
  std::size_t n_prompt_ = 0, n_cached_ = 0, n_generated_ = 0;
};

}  // namespace longreach::serve
