#include "launch/commands/bench_serve_result.hpp"

#include "launch/commands/bench_result.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <array>
#include <cmath>
#include <numeric>
#include <optional>
#include <utility>
#include <vector>

namespace longreach::launch {
namespace {

using Json = nlohmann::ordered_json;

/// Milliseconds.
struct TimeSummary {
  double mean = 0, median = 0, deviation = 0, p99 = 0;
};

std::optional<TimeSummary> summary_of(std::vector<double> seconds) {
  if (seconds.empty()) return std::nullopt;
  for (double& each : seconds) each *= 1e3;
  const auto n = static_cast<double>(seconds.size());
  TimeSummary summary;
  summary.mean = std::accumulate(seconds.begin(), seconds.end(), 0.0) / n;
  double squares = 0;
  for (const double each : seconds) squares += (each - summary.mean) * (each - summary.mean);
  summary.deviation = std::sqrt(squares / n);
  summary.p99 = percentile(seconds, 0.99);
  summary.median = median(std::move(seconds));
  return summary;
}

/// All answers together.
struct ServeFigures {
  std::size_t n_read = 0, n_written = 0;  ///< Tokens of prompts and answers.
  struct Times {
    std::string_view name, meaning;
    std::optional<TimeSummary> summary;
  };
  std::array<Times, 4> times;
};

ServeFigures figures_of(const serve::LoadResult& load) {
  ServeFigures figures;
  std::vector<double> first, per_token, intervals, whole;
  for (const serve::AnswerTimes& answer : load.answers) {
    figures.n_read += answer.n_prompt;
    figures.n_written += answer.n_generated;
    first.push_back(answer.first);
    whole.push_back(answer.last);
    if (const auto seconds = answer.per_token()) per_token.push_back(*seconds);
    intervals.insert(intervals.end(), answer.intervals.begin(), answer.intervals.end());
  }
  figures.times = {{{"ttft", "time to first token", summary_of(std::move(first))},
                    {"tpot", "time per output token", summary_of(std::move(per_token))},
                    {"itl", "inter-token latency", summary_of(std::move(intervals))},
                    {"e2el", "end to end", summary_of(std::move(whole))}}};
  return figures;
}

void add_times(Json& json, const ServeFigures::Times& times) {
  const auto& summary = times.summary;
  const auto add = [&](std::string_view statistic, double TimeSummary::*value) {
    json[fmt::format("{}_{}_ms", statistic, times.name)] =
        summary ? Json((*summary).*value) : Json();
  };
  add("mean", &TimeSummary::mean);
  add("median", &TimeSummary::median);
  add("std", &TimeSummary::deviation);
  add("p50", &TimeSummary::median);
  add("p99", &TimeSummary::p99);
}

double per_second(std::size_t n, double seconds) { return static_cast<double>(n) / seconds; }

}  // namespace

std::string json_line(const ServeResult& result) {
  const BenchServeOptions& options = result.options;
  const serve::LoadResult& load = result.load;
  const ServeFigures figures = figures_of(load);
  Json json = {
      {"question", "serve"},
      {"model_id", result.model_name.empty() ? Json() : Json(result.model_name)},
      {"num_prompts", options.n_prompts},
      {"request_rate", std::isinf(options.request_rate) ? Json("inf") : Json(options.request_rate)},
      {"max_concurrency", options.max_concurrency ? Json(*options.max_concurrency) : Json()},
      {"random_input_len", options.n_input},
      {"random_output_len", options.n_output},
      {"random_prefix_len", options.n_prefix},
      {"abandon", options.share_abandoned},
      {"seed", options.seed},
      {"duration", load.seconds},
      {"completed", load.answers.size()},
      {"failed", load.n_failed},
      {"abandoned", load.n_abandoned},
      {"total_input_tokens", figures.n_read},
      {"total_output_tokens", figures.n_written},
      {"request_throughput", per_second(load.answers.size(), load.seconds)},
      {"output_throughput", per_second(figures.n_written, load.seconds)},
      {"total_token_throughput", per_second(figures.n_read + figures.n_written, load.seconds)}};
  for (const auto& times : figures.times) add_times(json, times);
  json["version"] = LONGREACH_VERSION;
  return json.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

std::string table_text(const ServeResult& result) {
  const serve::LoadResult& load = result.load;
  const ServeFigures figures = figures_of(load);
  std::string text = fmt::format(
      "{} of {} requests completed in {:.2f} s, {} failed, {} abandoned\n"
      "{} tokens of prompts, {} of answers\n"
      "{:.2f} requests/s, {:.1f} tokens/s of answers, {:.1f} tokens/s in all\n\n"
      "{:<28}{:>10}{:>10}{:>10}{:>10}\n",
      load.answers.size(), result.options.n_prompts, load.seconds, load.n_failed, load.n_abandoned,
      figures.n_read, figures.n_written, per_second(load.answers.size(), load.seconds),
      per_second(figures.n_written, load.seconds),
      per_second(figures.n_read + figures.n_written, load.seconds), "milliseconds", "mean",
      "median", "p99", "std");
  for (const auto& [name, meaning, summary] : figures.times) {
    text += fmt::format("{:<28}", fmt::format("{} ({})", meaning, name));
    for (const auto value :
         {&TimeSummary::mean, &TimeSummary::median, &TimeSummary::p99, &TimeSummary::deviation}) {
      text += summary ? fmt::format("{:>10.2f}", (*summary).*value) : fmt::format("{:>10}", "-");
    }
    text += '\n';
  }
  return text;
}

}  // namespace longreach::launch
