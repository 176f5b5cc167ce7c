#include "launch/bench.hpp"

#include "kernels/base/error.hpp"
#include "kernels/isa.hpp"
#include "launch/machine.hpp"
#include "launch/open_model.hpp"
#include "launch/progress.hpp"
#include "launch/signals.hpp"
#include "launch/standard_streams.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <optional>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace longreach::launch {
namespace {

using base::TokenId;
using Clock = std::chrono::steady_clock;
using Json = nlohmann::ordered_json;

/// Fixed, so that every run computes the same.
constexpr std::uint64_t kSeed = 1;

/// Prompts from this length on are also timed by parts.
constexpr std::size_t kLongPrompt = 16384;
constexpr std::size_t kParts = 8;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

double median(std::vector<double> values) {
  std::ranges::sort(values);
  const std::size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
}

/// Memory to read for comparison: by itself too much for caches, but not more than can be had.
std::size_t yardstick_bytes(const BenchOptions& options) {
  const std::size_t wanted = options.read_memory_mib
                                 ? *options.read_memory_mib << 20
                                 : std::max(std::size_t{1} << 30, 4 * cache_bytes());
  return std::min(wanted, available_memory_bytes() / 2);
}

/// What was seen at one context.
struct Measurement {
  std::vector<double> seconds;  ///< Per token, of each repeat.
  std::size_t bytes_per_token = 0;
  std::size_t yardstick_bytes = 0;                ///< Memory that was read to know the next one.
  double read_bandwidth = 0;                      ///< Bytes a second.
  std::array<std::vector<double>, kParts> parts;  ///< Seconds per token, if the prompt is long.
};

/// What all measurements of a run share.
struct Run {
  const BenchOptions& options;
  const OpenedModel& opened;
  const StopSignals& signals;
  dist::Engine& engine;

  /// For the engine: shows its progress as the part of the work from `begin` on that is `share` of
  /// all, and asks for the end after a signal.
  auto reporter(ProgressLine& line, double begin, double share) const {
    return [this, &line, begin, share](double done) {
      line.update(begin + share * done);
      return !signals.received();
    };
  }

  void measure_read_bandwidth(Measurement& measurement) const {
    if (measurement.yardstick_bytes == 0) measurement.yardstick_bytes = yardstick_bytes(options);
    measurement.read_bandwidth =
        std::max(measurement.read_bandwidth, engine.read_bandwidth(measurement.yardstick_bytes));
  }

  std::size_t n_rounds() const { return options.n_warmups + options.n_repeats; }
};

std::vector<TokenId> random_tokens(std::size_t n, std::size_t vocab_size) {
  std::mt19937_64 engine(kSeed);
  std::vector<TokenId> tokens(n);
  for (TokenId& token : tokens) token = static_cast<TokenId>(engine() % vocab_size);
  return tokens;
}

void ignore_logits(std::size_t, std::span<const float>) {}

/// Decodes random tokens behind a context that nobody has read. Nothing when a signal came.
std::optional<Measurement> measure_decode(const Run& run, std::size_t context) {
  dist::Session session = run.engine.new_session();
  {
    ProgressLine line(context, "filling");
    if (!run.engine.fill(session, context, kSeed, run.reporter(line, 0, 1))) return std::nullopt;
  }
  Measurement result;
  run.measure_read_bandwidth(result);
  const std::size_t n_tokens = run.options.n_tokens, n_all = run.n_rounds() * n_tokens;
  const std::vector<TokenId> tokens = random_tokens(n_all, run.opened.config.vocab_size);
  ProgressLine line(n_all, "decoding");
  for (std::size_t round = 0; round < run.n_rounds(); ++round) {
    if (round == run.options.n_warmups + run.options.n_repeats / 2) {  // the context grows
      result.bytes_per_token = run.engine.bytes_per_token(session);
    }
    const Clock::time_point start = Clock::now();
    for (std::size_t i = round * n_tokens; i < (round + 1) * n_tokens; ++i) {
      const double begin = static_cast<double>(i) / static_cast<double>(n_all);
      if (!run.engine.feed(session, std::span(tokens).subspan(i, 1), std::array{context + i},
                           ignore_logits, run.reporter(line, begin, 0))) {
        return std::nullopt;
      }
    }
    if (round >= run.options.n_warmups) {
      result.seconds.push_back(seconds_since(start) / static_cast<double>(n_tokens));
    }
  }
  run.measure_read_bandwidth(result);
  return result;
}

/// Reads a prompt of random tokens. Nothing when a signal came.
std::optional<Measurement> measure_prefill(const Run& run, std::size_t context) {
  Measurement result;
  run.measure_read_bandwidth(result);
  // Each slice reads all weights once. Caches and states hardly count beside them and its products.
  result.bytes_per_token = run.engine.weight_bytes() / std::min(context, model::kSliceTokens);
  const std::vector<TokenId> tokens = random_tokens(context, run.opened.config.vocab_size);
  ProgressLine line(context * run.n_rounds(), "reading");
  for (std::size_t round = 0; round < run.n_rounds(); ++round) {
    dist::Session session = run.engine.new_session();
    const double share = 1 / static_cast<double>(run.n_rounds());
    const auto report = run.reporter(line, static_cast<double>(round) * share, share);
    std::vector<double> part_ends;
    const Clock::time_point start = Clock::now();
    const bool finished =
        run.engine.feed(session, tokens, std::array{context - 1}, ignore_logits, [&](double done) {
          while (part_ends.size() < kParts &&
                 done * kParts >= static_cast<double>(part_ends.size() + 1)) {
            part_ends.push_back(seconds_since(start));
          }
          return report(done);
        });
    const double seconds = seconds_since(start);
    if (!finished) return std::nullopt;
    if (round < run.options.n_warmups) continue;
    result.seconds.push_back(seconds / static_cast<double>(context));
    if (context < kLongPrompt) continue;
    part_ends.resize(kParts, seconds);
    for (std::size_t part = 0; part < kParts; ++part) {
      const double begin = part == 0 ? 0 : part_ends[part - 1];
      result.parts[part].push_back((part_ends[part] - begin) * kParts /
                                   static_cast<double>(context));
    }
  }
  run.measure_read_bandwidth(result);
  return result;
}

std::string_view attention_name(model::AttentionMode mode) {
  switch (mode) {
    case model::AttentionMode::kMoba:
      return "moba";
    case model::AttentionMode::kReference:
      return "reference";
    case model::AttentionMode::kFull:
      return "full";
  }
  return "?";
}

std::string_view question_name(BenchQuestion question) {
  return question == BenchQuestion::kDecode ? "decode" : "prefill";
}

Json as_json(const Run& run, std::size_t context, const Measurement& measurement) {
  const OpenedModel& opened = run.opened;
  const model::Preset* const preset = opened.checkpoint.preset();
  const partition::Grid& grid = run.engine.grid();
  const double seconds = median(measurement.seconds);
  const auto [least, most] = std::ranges::minmax(measurement.seconds);
  Json json = {
      {"question", question_name(run.options.question)},
      {"preset", preset != nullptr ? std::string(preset->name) : opened.checkpoint.path().string()},
      {"context", context},
      {"attention", attention_name(opened.engine_options.attention.mode)},
      {"weights", name_of(opened.engine_options.weights)},
      {"kv", name_of(base::DType::kF32)},
      {"isa", kernels::active_isa()},
      {"ranks", grid.n_ranks()},
      {"stages", grid.n_stages},
      {"shards", grid.n_shards},
      {"threads", opened.engine_options.n_threads},
      {"tokens", run.options.question == BenchQuestion::kDecode ? run.options.n_tokens : context},
      {"warmups", run.options.n_warmups},
      {"repeats", run.options.n_repeats},
      {"seconds_per_token", seconds},
      {"tokens_per_second", 1 / seconds},
      {"spread", (most - least) / seconds},
      {"least_seconds_per_token", least},
      {"most_seconds_per_token", most},
      {"bytes_per_token", measurement.bytes_per_token},
      {"read_bandwidth", measurement.read_bandwidth},
      {"read_memory", measurement.yardstick_bytes},
      {"share_of_bandwidth",
       static_cast<double>(measurement.bytes_per_token) / seconds / measurement.read_bandwidth},
      {"version", LONGREACH_VERSION},
      {"machine", cpu_name()}};
  if (!measurement.parts[0].empty()) {
    Json parts = Json::array();
    for (const std::vector<double>& part : measurement.parts) parts.push_back(1 / median(part));
    json["tokens_per_second_by_eighths"] = std::move(parts);
  }
  return json;
}

}  // namespace

int run(const BenchOptions& options, dist::World& world) {
  const StopSignals signals;
  if (options.question == BenchQuestion::kExchange) {
    base::input_error(
        "bench exchange: expected at least 2 shards, found 1: a single rank has nobody "
        "to tell anything");
  }
  const bool decodes = options.question == BenchQuestion::kDecode;
  const OpenedModel opened = world.agree([&] { return open_model(options.model); });
  const std::size_t longest = std::ranges::max(options.contexts);
  const std::size_t n_decoded =
      decodes ? (options.n_warmups + options.n_repeats) * options.n_tokens : 0;
  const auto engine =
      load_engine(opened, {longest + n_decoded, decodes ? 1 : longest, "--context"}, world);
  if (!engine->leads()) {
    engine->serve();
    return 0;
  }
  const Run run{options, opened, signals, *engine};
  for (const std::size_t context : options.contexts) {
    const auto measurement = decodes ? measure_decode(run, context) : measure_prefill(run, context);
    if (!measurement) break;
    write_output(as_json(run, context, *measurement).dump() + "\n");
  }
  return signals.exit_code();
}

}  // namespace longreach::launch
