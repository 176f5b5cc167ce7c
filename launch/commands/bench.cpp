#include "launch/commands/bench.hpp"

#include "dist/engine/exchange_timing.hpp"
#include "dist/engine/read_together.hpp"
#include "kernels/base/error.hpp"
#include "kernels/base/seconds.hpp"
#include "launch/commands/bench_result.hpp"
#include "launch/machine/machine.hpp"
#include "launch/open_model.hpp"
#include "launch/progress.hpp"
#include "launch/signals.hpp"
#include "launch/standard_streams.hpp"
#include "launch/usage.hpp"
#include "model/cache/attention_span.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <optional>
#include <random>
#include <span>
#include <utility>
#include <vector>

namespace longreach::launch {
namespace {

using base::seconds_since;
using base::TokenId;
using Clock = std::chrono::steady_clock;

/// Fixed, so that every run computes the same.
constexpr std::uint64_t kSeed = 1;

/// Prompts from this length on are also timed by eighths.
constexpr std::size_t kLongPrompt = 16384;

/// Memory that each rank reads for comparison, in whole words: by itself too much for caches, but
/// together with the others' not more than can be had.
std::size_t read_memory_bytes(const BenchOptions& options, const partition::Grid& grid) {
  const std::size_t wanted = options.read_memory_mib
                                 ? *options.read_memory_mib << 20
                                 : std::max(std::size_t{1} << 30, 4 * cache_bytes());
  const std::size_t bytes = std::min(wanted, available_memory_bytes() / (2 * grid.n_ranks()));
  return bytes / sizeof(std::uint64_t) * sizeof(std::uint64_t);
}

/// What all measurements with an engine share.
struct Run {
  const BenchOptions& options;
  const OpenedModel& opened;
  const StopSignals& signals;
  dist::Engine& engine;

  std::size_t n_rounds() const { return options.n_warmups + options.n_repeats; }

  BenchResult new_result(std::string_view question, std::size_t context,
                         std::size_t n_tokens) const {
    BenchResult result;
    result.question = question;
    result.grid = engine.grid();
    result.context = context;
    result.n_tokens = n_tokens;
    result.n_warmups = options.n_warmups;
    return result;
  }

  /// Beside each repeat, as the speed of a shared machine's memory changes.
  void measure_read_bandwidth(BenchResult& result) const {
    if (result.read_memory_bytes == 0) {
      result.read_memory_bytes = read_memory_bytes(options, engine.grid());
    }
    result.read_bandwidths.push_back(engine.read_bandwidth(result.read_memory_bytes));
  }

  /// For the engine: shows its progress as the part of the work from `begin` on that is `share` of
  /// all, and asks for the end after a signal.
  auto reporter(ProgressLine& line, double begin, double share) const {
    return [this, &line, begin, share](double done) {
      line.update(begin + share * done);
      return !signals.received();
    };
  }
};

std::vector<TokenId> random_tokens(std::size_t n, std::size_t vocab_size) {
  std::mt19937_64 engine(kSeed);
  std::vector<TokenId> tokens(n);
  for (TokenId& token : tokens) token = static_cast<TokenId>(engine() % vocab_size);
  return tokens;
}

void ignore_logits(std::size_t, std::span<const float>) {}

/// Sessions after contexts that nobody has read: each has its own, or all are forks of one. Empty
/// when a signal came.
std::vector<dist::Session> filled_sessions(const Run& run, std::size_t context) {
  const std::size_t n_streams = run.options.n_streams;
  const bool forks = run.options.contexts_of_streams == StreamContexts::kForked;
  const std::size_t n_filled = forks ? 1 : n_streams;
  const double share = 1 / static_cast<double>(n_filled);
  ProgressLine line(context * n_filled, "filling");
  std::vector<dist::Session> sessions;
  for (std::size_t i = 0; i < n_filled; ++i) {
    sessions.push_back(run.engine.new_session());
    const auto report = run.reporter(line, static_cast<double>(i) * share, share);
    if (!run.engine.fill(sessions.back(), context, kSeed + i, report)) return {};
  }
  while (sessions.size() < n_streams) sessions.push_back(run.engine.fork(sessions.front()));
  return sessions;
}

/// Submits the next token of each of these streams as a step; in mode reference, which has no
/// steps, as a call for each. Returns false when a signal came.
bool submit_step(const Run& run, std::span<dist::Session> streams,
                 std::span<const base::TokenId> tokens, const dist::Progress& progress) {
  static const auto sink = std::make_shared<const dist::LogitsSink>(ignore_logits);
  const std::size_t position = streams.front().n_tokens();
  if (run.opened.engine_options.attention.mode == model::AttentionMode::kReference) {
    for (std::size_t s = 0; s < streams.size(); ++s) {
      if (!run.engine.read(streams[s], tokens.subspan(s, 1), {&position, 1}, ignore_logits,
                           progress)) {
        return false;
      }
    }
    return true;
  }
  std::vector<dist::SegmentRequest> segments;
  for (std::size_t s = 0; s < streams.size(); ++s) {
    segments.push_back({&streams[s], tokens.subspan(s, 1), {&position, 1}, sink});
  }
  return run.engine.submit(segments, progress);
}

/// Decodes random tokens after contexts that nobody has read, in all streams at once: each submits
/// its next token when the logits of the one before have come. The streams make as many steps as
/// there are stages, which work at once. Nothing when a signal came.
std::optional<BenchResult> measure_decode(const Run& run, std::size_t context) {
  std::vector<dist::Session> sessions = filled_sessions(run, context);
  if (sessions.empty()) return std::nullopt;
  const std::size_t n_steps = std::min(run.engine.grid().n_stages, sessions.size());
  const std::size_t n_tokens = run.options.n_tokens, n_all = run.n_rounds() * n_tokens;
  BenchResult result = run.new_result("decode", context, n_tokens);
  result.n_streams = sessions.size();
  result.forks = run.options.contexts_of_streams == StreamContexts::kForked;
  // A stream's i-th token is number i + its own number: all see other tokens at a time.
  const std::vector<TokenId> tokens =
      random_tokens(n_all + sessions.size(), run.opened.config.vocab_size);
  ProgressLine line(n_all, "decoding");
  for (std::size_t round = 0; round < run.n_rounds(); ++round) {
    if (round == run.options.n_warmups + run.options.n_repeats / 2) {  // the context grows
      // The streams of a step read the weights together.
      const std::size_t of_weights = run.engine.weight_bytes();
      result.bytes_per_token = run.engine.bytes_per_token(sessions.front().n_tokens()) -
                               of_weights + of_weights * n_steps / sessions.size();
    }
    const Clock::time_point start = Clock::now();
    for (std::size_t i = round * n_tokens; i < (round + 1) * n_tokens; ++i) {
      const double begin = static_cast<double>(i) / static_cast<double>(n_all);
      for (std::size_t s = 0; s < n_steps; ++s) {
        const partition::Range part = partition::part_of(sessions.size(), s, n_steps);
        const auto streams = std::span(sessions).subspan(part.begin, part.size());
        for (const dist::Session& stream : streams) run.engine.wait_for(stream);
        if (!submit_step(run, streams, std::span(tokens).subspan(i + part.begin, part.size()),
                         run.reporter(line, begin, 0))) {
          return std::nullopt;
        }
      }
    }
    for (const dist::Session& session : sessions) run.engine.wait_for(session);
    if (round >= run.options.n_warmups) {
      result.seconds.push_back(seconds_since(start) /
                               static_cast<double>(n_tokens * sessions.size()));
      run.measure_read_bandwidth(result);
    }
  }
  return result;
}

/// Reads a prompt of random tokens. Nothing when a signal came.
std::optional<BenchResult> measure_prefill(const Run& run, std::size_t context) {
  constexpr std::size_t kParts = 8;
  BenchResult result = run.new_result("prefill", context, context);
  // Each step reads all weights once. Caches and states hardly count beside them and its products.
  result.bytes_per_token = run.engine.weight_bytes() / std::min(context, model::kStepRows);
  const std::vector<TokenId> tokens = random_tokens(context, run.opened.config.vocab_size);
  std::array<std::vector<double>, kParts> parts;
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
    part_ends.resize(kParts, seconds);
    for (std::size_t part = 0; part < kParts; ++part) {
      const double begin = part == 0 ? 0 : part_ends[part - 1];
      parts[part].push_back((part_ends[part] - begin) * kParts / static_cast<double>(context));
    }
    run.measure_read_bandwidth(result);
  }
  if (context >= kLongPrompt) {
    for (const std::vector<double>& part : parts) result.eighths.push_back(median(part));
  }
  return result;
}

int bench_engine(const BenchOptions& options, OpenedModel& opened, dist::World& world) {
  world.agree([&] {
    if (world.leads_job()) model_files(opened, options.model, {}).check_outputs();
  });
  const StopSignals signals;
  const bool decodes = options.question == BenchQuestion::kDecode;
  const std::size_t longest = std::ranges::max(options.contexts);
  const std::size_t n_decoded =
      decodes ? (options.n_warmups + options.n_repeats) * options.n_tokens : 0;
  const std::size_t n_streams = decodes ? options.n_streams : 1;
  const bool forks = options.contexts_of_streams == StreamContexts::kForked;
  const RunLength length{(forks ? 1 : n_streams) * longest + n_streams * n_decoded,
                         decodes ? 1 : longest, decodes ? 0.0 : 1.0, "--context"};
  const auto engine = load_engine(opened, length, world);
  if (!engine->leads()) {
    engine->serve();
    return 0;
  }
  const Run run{options, opened, signals, *engine};
  for (const std::size_t context : options.contexts) {
    const auto result = decodes ? measure_decode(run, context) : measure_prefill(run, context);
    if (!result) break;
    write_output(json_line(opened, *result));
  }
  write_trace(*engine, options.model);
  log_usage(*engine, options.model);
  return signals.exit_code();
}

/// The grid whose shards are timed: all ranks are shards unless stages are asked for.
partition::Grid exchange_grid(const OpenedModel& opened, std::size_t n_ranks) {
  const std::size_t n_stages = opened.grid.n_stages.value_or(1);
  const partition::Grid grid{n_stages, opened.grid.n_shards.value_or(n_ranks / n_stages)};
  if (grid.n_ranks() != n_ranks || grid.n_shards < 2) {
    base::input_error(
        "--stages, --shards: bench exchange needs a grid of all ranks with at least 2 shards, "
        "found "
        "{} x {} for {} ranks",
        grid.n_stages, grid.n_shards, n_ranks);
  }
  return grid;
}

/// What a query at the end of the context sees, if it chooses.
dist::AttendedChunks attended_chunks(const OpenedModel& opened, std::size_t context) {
  const model::AttentionConfig& attention = opened.engine_options.attention;
  const partition::AttendedRows rows = model::attended_rows(attention, context);
  if (opened.config.n_sparse == 0 || rows.n_scored == 0) {
    base::input_error("--context: with {} tokens no chunk of {} is chosen, so nothing is exchanged",
                      context, opened.checkpoint.path().string());
  }
  return {opened.config.n_head, rows.n_scored, rows.n_chosen,
          rows.recent_tokens / attention.chunk_size + 1};
}

/// Needs no engine: what is sent depends on sizes alone.
int bench_exchange(const BenchOptions& options, const OpenedModel& opened, dist::World& world) {
  const partition::Grid grid = world.agree([&] {
    require_grid_fits(opened.engine_options.attention, world.size());
    return exchange_grid(opened, world.size());
  });
  const dist::GridPosition grid_position(world.communicator(), grid);
  kernels::ThreadPool pool(opened.engine_options.n_threads);
  for (const std::size_t context : options.contexts) {
    const dist::AttendedChunks span = world.agree([&] { return attended_chunks(opened, context); });
    BenchResult result;
    result.question = "exchange";
    result.grid = grid;
    result.context = context;
    result.n_tokens = 1;
    result.n_warmups = options.n_warmups * options.n_tokens;
    result.n_exchanges = opened.config.n_sparse;
    result.read_memory_bytes = read_memory_bytes(options, grid);
    kernels::ReadYardstick yardstick(result.read_memory_bytes, pool);
    for (std::size_t repeat = 0; repeat < options.n_repeats; ++repeat) {
      result.read_bandwidths.push_back(dist::read_together(world.communicator(), yardstick));
    }
    const auto measure = [&](std::string_view part, auto&& time) {
      const std::size_t n_rounds = options.n_repeats * options.n_tokens;
      time(*grid_position.shards, span, result.n_warmups);
      const dist::ExchangeTimes times = time(*grid_position.shards, span, n_rounds);
      result.part = part;
      result.seconds.clear();
      for (const double seconds : times.seconds) {
        result.seconds.push_back(seconds * static_cast<double>(result.n_exchanges));
      }
      result.bytes_per_token = times.n_bytes * result.n_exchanges;
      if (world.leads_job()) write_output(json_line(opened, result));
    };
    measure("candidates", dist::time_candidates);
    measure("partials", dist::time_partials);
  }
  return 0;
}

}  // namespace

int run(const BenchOptions& options, dist::World& world) {
  OpenedModel opened = world.agree([&] { return open_model(options.model); });
  return options.question == BenchQuestion::kExchange ? bench_exchange(options, opened, world)
                                                      : bench_engine(options, opened, world);
}

}  // namespace longreach::launch
