#include "launch/commands/bench_result.hpp"

#include "kernels/base/json.hpp"
#include "kernels/simd/isa.hpp"
#include "launch/machine/machine.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <numeric>

namespace longreach::launch {
namespace {

using Json = nlohmann::ordered_json;

std::string checkpoint_name(const model::Checkpoint& checkpoint) {
  const model::Preset* const preset = checkpoint.preset();
  return preset != nullptr ? std::string(preset->name)
                           : base::utf8_name(checkpoint.path().string());
}

/// From the tenth to the ninetieth percentile, which are the smallest and the largest of up to ten.
double percentile_range(std::vector<double> values) {
  std::ranges::sort(values);
  const auto last = static_cast<double>(values.size() - 1);
  return values[static_cast<std::size_t>(std::ceil(0.9 * last))] -
         values[static_cast<std::size_t>(0.1 * last)];
}

/// The names of serving benchmarks.
Json json_of(const TokenTimes& times) {
  const auto n = static_cast<double>(times.intervals.size());
  const double sum = std::accumulate(times.intervals.begin(), times.intervals.end(), 0.0);
  return {{"mean_itl_ms", 1e3 * sum / n},
          {"p50_itl_ms", 1e3 * percentile(times.intervals, 0.5)},
          {"p99_itl_ms", 1e3 * percentile(times.intervals, 0.99)},
          {"max_itl_ms", 1e3 * std::ranges::max(times.intervals)},
          {"output_throughput", n / times.seconds}};
}

void add_mixed(Json& json, const MixedTimes& times) {
  const auto n_prompt = static_cast<double>(times.n_prompt);
  const double alone = n_prompt / median(times.alone);
  const double beside_streams = n_prompt / median(times.beside_streams);
  json["prompt_tokens"] = times.n_prompt;
  if (times.step_ms) json["step_ms"] = *times.step_ms;
  json.update({{"without_prompt", json_of(times.without_prompt)},
               {"with_prompt", json_of(times.with_prompt)},
               {"p99_itl_ratio", percentile(times.with_prompt.intervals, 0.99) /
                                     percentile(times.without_prompt.intervals, 0.99)},
               {"prompt_tokens_per_second", beside_streams},
               {"prompt_tokens_per_second_alone", alone},
               {"prompt_loss_percent", 100 * (1 - beside_streams / alone)}});
}

}  // namespace

TokenTimes& TokenTimes::operator+=(const TokenTimes& other) {
  intervals.insert(intervals.end(), other.intervals.begin(), other.intervals.end());
  seconds += other.seconds;
  return *this;
}

double median(std::vector<double> values) {
  std::ranges::sort(values);
  const std::size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
}

double percentile(std::vector<double> values, double share) {
  std::ranges::sort(values);
  const double rank = std::ceil(share * static_cast<double>(values.size()));
  return values[static_cast<std::size_t>(std::max(rank, 1.0)) - 1];
}

std::string json_line(const OpenedModel& opened, const BenchResult& result) {
  const double seconds = median(result.seconds);
  const double read_bandwidth = median(result.read_bandwidths);
  const auto [least, most] = std::ranges::minmax(result.seconds);
  const model::AttentionConfig& attention = opened.engine_options.attention;
  Json json = {{"question", result.question}};
  if (!result.part.empty()) json["part"] = result.part;
  json.update({{"preset", checkpoint_name(opened.checkpoint)}, {"context", result.context}});
  add_attention(json, attention, AttentionPart::kMode);
  json["weights"] = name_of(opened.engine_options.weights);
  json["activations"] = name_of(opened.engine_options.activations);
  add_attention(json, attention, AttentionPart::kCache);
  json.update({{"isa", kernels::active_isa()},
               {"ranks", result.grid.n_ranks()},
               {"stages", result.grid.n_stages},
               {"shards", result.grid.n_shards},
               {"threads", opened.engine_options.n_threads},
               {"streams", result.n_streams},
               {"forks", result.forks},
               {"tokens", result.n_tokens},
               {"warmups", result.n_warmups},
               {"repeats", result.seconds.size()},
               {"seconds_per_token", seconds},
               {"tokens_per_second", 1 / seconds},
               {"spread", percentile_range(result.seconds) / seconds},
               {"least_seconds_per_token", least},
               {"most_seconds_per_token", most}});
  if (result.n_exchanges > 0) {
    json["seconds_per_exchange"] = seconds / static_cast<double>(result.n_exchanges);
    json["bytes_per_exchange"] = result.bytes_per_token / result.n_exchanges;
  }
  if (result.n_jobs > 0) {
    json["jobs_per_token"] = result.n_jobs;
    json["seconds_per_job"] = seconds / static_cast<double>(result.n_jobs);
  }
  json.update({{"bytes_per_token", result.bytes_per_token},
               {"read_bandwidth", read_bandwidth},
               {"read_memory", result.read_memory_bytes},
               {"share_of_bandwidth",
                static_cast<double>(result.bytes_per_token) / seconds / read_bandwidth},
               {"version", LONGREACH_VERSION},
               {"machine", cpu_name()}});
  if (!result.eighths.empty()) {
    Json speeds = Json::array();
    for (const double seconds_per_token : result.eighths) speeds.push_back(1 / seconds_per_token);
    json["tokens_per_second_by_eighths"] = std::move(speeds);
  }
  if (result.mixed) add_mixed(json, *result.mixed);
  return json.dump() + "\n";
}

}  // namespace longreach::launch
