#include "launch/commands/bench.hpp"

#include "dist/comm/machine_report.hpp"
#include "dist/engine/exchange_timing.hpp"
#include "dist/engine/read_together.hpp"
#include "kernels/base/error.hpp"
#include "kernels/base/seconds.hpp"
#include "launch/commands/bench_result.hpp"
#include "launch/commands/bench_run.hpp"
#include "launch/machine/binding.hpp"
#include "launch/machine/core_share.hpp"
#include "launch/machine/machine.hpp"
#include "launch/open_model.hpp"
#include "launch/signals.hpp"
#include "launch/standard_streams.hpp"
#include "launch/usage.hpp"
#include "model/cache/attention_span.hpp"
#include "partition/cost.hpp"

#include <algorithm>
#include <chrono>

namespace longreach::launch {
namespace {

int bench_engine(const BenchOptions& options, OpenedModel& opened, dist::World& world) {
  world.agree([&] {
    if (world.leads_job()) model_files(opened, options.model, {}).check_outputs();
  });
  const StopSignals signals;
  const RunLength length = bench_length(options, opened, std::ranges::max(options.contexts));
  const auto engine = load_engine(opened, length, world);
  if (!engine->leads()) {
    engine->serve();
    return 0;
  }
  const BenchRun run{options, opened, signals, *engine};
  for (const std::size_t context : options.contexts) {
    const auto result = measure(run, context);
    if (!result) break;
    write_output(json_line(opened, *result));
  }
  write_trace(*engine, options.model);
  log_usage(*engine, options.model);
  return signals.exit_code();
}

/// As many threads as a run would have, bound as in one. Collective: all ranks of the job.
kernels::ThreadPool bound_threads(OpenedModel& opened, dist::World& world) {
  const dist::MachineReport own = world.agree([] { return describe_machine(); });
  const CoreShare share = share_cores(dist::gather(world.communicator(), own))[world.rank()];
  std::size_t& n_threads = opened.engine_options.n_threads;
  n_threads = opened.n_threads.value_or(share.n_threads);
  return kernels::ThreadPool(n_threads, bind_process(share, n_threads).thread_started);
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
  const bool has_attention =
      opened.config.n_sparse > 0 && attention.mode != model::AttentionMode::kNone;
  if (!has_attention || rows.n_scored == 0) {
    base::input_error(
        "--context: with {} tokens no chunk of {} is chosen{}, so nothing is exchanged", context,
        opened.checkpoint.path().string(), has_attention ? "" : ", as no block has attention");
  }
  return {opened.config.n_head, rows.n_scored, rows.n_chosen,
          rows.recent_tokens / attention.chunk_size + 1};
}

/// Needs no engine: what is sent depends on sizes alone.
int bench_exchange(const BenchOptions& options, OpenedModel& opened, dist::World& world) {
  const partition::Grid grid = world.agree([&] {
    require_grid_fits(opened.engine_options.attention, world.size());
    return exchange_grid(opened, world.size());
  });
  const dist::GridPosition grid_position(world.communicator(), grid);
  kernels::ThreadPool pool = bound_threads(opened, world);
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

/// Needs no engine: jobs in which nothing is done show what dividing them takes.
int bench_barriers(const BenchOptions& options, OpenedModel& opened, dist::World& world) {
  kernels::ThreadPool pool = bound_threads(opened, world);
  BenchResult result;
  result.question = "barriers";
  result.grid = {1, world.size()};
  result.n_tokens = options.n_tokens;
  result.n_warmups = options.n_warmups;
  result.n_jobs =
      partition::kBlockJobs * opened.config.execution_order().size() + partition::kHeadJobs;
  result.read_memory_bytes = read_memory_bytes(options, result.grid);
  kernels::ReadYardstick yardstick(result.read_memory_bytes, pool);
  for (std::size_t round = 0; round < options.n_warmups + options.n_repeats; ++round) {
    const auto start = std::chrono::steady_clock::now();
    for (std::size_t job = 0; job < options.n_tokens * result.n_jobs; ++job) {
      pool.for_each(pool.size(), [](std::size_t, std::size_t) {});
    }
    const double seconds = base::seconds_since(start) / static_cast<double>(options.n_tokens);
    if (round < options.n_warmups) continue;
    result.seconds.push_back(seconds);
    result.read_bandwidths.push_back(dist::read_together(world.communicator(), yardstick));
  }
  if (world.leads_job()) write_output(json_line(opened, result));
  return 0;
}

}  // namespace

int run(const BenchOptions& options, dist::World& world) {
  OpenedModel opened = world.agree([&] { return open_model(options.model); });
  switch (options.question) {
    case BenchQuestion::kExchange:
      return bench_exchange(options, opened, world);
    case BenchQuestion::kBarriers:
      return bench_barriers(options, opened, world);
    default:
      return bench_engine(options, opened, world);
  }
}

}  // namespace longreach::launch
