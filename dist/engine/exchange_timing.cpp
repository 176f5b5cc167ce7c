#include "dist/engine/exchange_timing.hpp"

#include "dist/comm/gather_values.hpp"
#include "dist/engine/shard_exchange.hpp"
#include "kernels/attention/attention.hpp"
#include "model/cache/selection.hpp"
#include "model/transfer_plan.hpp"

#include <algorithm>
#include <chrono>
#include <numeric>
#include <span>

namespace longreach::dist {
namespace {

using model::Traffic;
using Clock = std::chrono::steady_clock;

/// The sum over all ranks. Collective.
std::size_t sum_of_all(Communicator& ranks, std::size_t own) {
  const std::vector<std::size_t> all = gather_values(ranks, own);
  return std::accumulate(all.begin(), all.end(), std::size_t{0});
}

/// Times round() n_rounds times, from when all have arrived to when the last one is done.
template <typename Round>
ExchangeTimes time_rounds(Communicator& shards, ShardExchange& exchange, Traffic traffic,
                          std::size_t n_rounds, Round&& round) {
  ExchangeTimes times;
  for (std::size_t i = 0; i < n_rounds; ++i) {
    shards.barrier();
    const Clock::time_point start = Clock::now();
    round();
    const double own = std::chrono::duration<double>(Clock::now() - start).count();
    times.seconds.push_back(std::ranges::max(gather_values(shards, own)));
  }
  const std::size_t n_sent = exchange.sent_bytes()[0][static_cast<std::size_t>(traffic)];
  times.n_bytes = n_rounds == 0 ? 0 : sum_of_all(shards, n_sent) / n_rounds;
  return times;
}

/// Partials that shard `from` has for the heads of shard `to`.
std::size_t partials_between(const AttendedChunks& span, std::size_t from, std::size_t to,
                             std::size_t n_shards) {
  const Range heads = partition::heads_of(span.n_head, {to, n_shards});
  std::size_t n = 0;
  for (std::size_t head = heads.begin; head < heads.end; ++head) {
    for (std::size_t i = 0; i < span.n_chosen + span.n_recent; ++i) {
      if ((head + i) % n_shards == from) ++n;
    }
  }
  return n;
}

}  // namespace

ExchangeTimes time_candidates(Communicator& shards, const AttendedChunks& span,
                              std::size_t n_rounds) {
  Recorder recorder(Recording::kNothing);
  ShardExchange exchange(shards, 1, ChunkMemory::kOwn, recorder);
  const std::size_t n_offered =
      std::min(span.n_chosen, partition::chunks_of(span.n_closed, {0, shards.size()}));
  const std::size_t of_shard = span.n_head * n_offered;
  std::vector<model::Candidate> all(of_shard * shards.size());
  std::vector<Range> parts;
  for (std::size_t s = 0; s < shards.size(); ++s) {
    parts.push_back(
        {s * of_shard * sizeof(model::Candidate), (s + 1) * of_shard * sizeof(model::Candidate)});
  }
  return time_rounds(shards, exchange, Traffic::kCandidates, n_rounds, [&] {
    exchange.all_gather(Traffic::kCandidates, std::as_writable_bytes(std::span(all)), parts);
  });
}

ExchangeTimes time_partials(Communicator& shards, const AttendedChunks& span,
                            std::size_t n_rounds) {
  Recorder recorder(Recording::kNothing);
  ShardExchange exchange(shards, 1, ChunkMemory::kOwn, recorder);
  const model::TransferPlan plan(exchange.shard(), [&](std::size_t from, std::size_t to) {
    return partials_between(span, from, to, shards.size()) * sizeof(kernels::Partial);
  });
  std::vector<kernels::Partial> sent(plan.sent_bytes() / sizeof(kernels::Partial), {0, 1, {}});
  std::vector<kernels::Partial> received(plan.received_bytes() / sizeof(kernels::Partial));
  const std::size_t per_head = span.n_chosen + span.n_recent;
  return time_rounds(shards, exchange, Traffic::kPartials, n_rounds, [&] {
    plan.run(exchange, Traffic::kPartials, std::as_bytes(std::span(sent)),
             std::as_writable_bytes(std::span(received)));
    for (std::size_t first = 0; first < received.size(); first += per_head) {
      for (std::size_t i = 1; i < per_head; ++i) {
        kernels::merge(received[first], received[first + i]);
      }
    }
  });
}

}  // namespace longreach::dist
