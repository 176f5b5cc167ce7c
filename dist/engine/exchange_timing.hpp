/// How long the shards of a stage take to exchange what decoding a token through a sparse
/// block needs.
#pragma once

#include "dist/comm/communicator.hpp"

#include <cstddef>
#include <vector>

namespace longreach::dist {

/// What a token's query sees of the cache, in every head.
struct AttendedChunks {
  std::size_t n_head;
  std::size_t n_closed;  ///< Chunks to choose from.
  std::size_t n_chosen;  ///< Chunks chosen.
  std::size_t n_recent;  ///< Chunks seen without being chosen, the open one among them.
};

/// Seconds of every round, each until the last shard is done, and bytes that a round sends between
/// shards.
struct ExchangeTimes {
  std::vector<double> seconds;
  std::size_t n_bytes = 0;
};

/// Exchanges candidates as model::select_chunks does for one token. Collective: the shards, with
/// the same arguments.
ExchangeTimes time_candidates(Communicator& shards, const AttendedChunks& span,
                              std::size_t n_rounds);

/// Ships partials as model::attend_chunks does for one token, and merges them; the chosen chunks of
/// a head lie on consecutive shards. Collective: the shards, with the same arguments.
ExchangeTimes time_partials(Communicator& shards, const AttendedChunks& span, std::size_t n_rounds);

}  // namespace longreach::dist
