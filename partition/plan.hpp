/// The plan: which rank owns which blocks, heads, columns and chunks, what that takes, and how fast
/// it may be. The same input gives the same plan on every rank.
#pragma once

#include "partition/cost.hpp"
#include "partition/machine.hpp"
#include "partition/memory.hpp"

#include <cstddef>
#include <optional>
#include <vector>

namespace longreach::partition {

/// No plan has more ranks.
inline constexpr std::size_t kMaxRanks = 4096;

/// What the user decides, and what is expected of the run; the rest is chosen. Absent ranks: as
/// many as the grid has, else 1.
struct PlanRequest {
  std::optional<std::size_t> n_ranks = {}, n_stages = {}, n_shards = {};
  /// How many of all rows are a prompt's, whose logits nobody wants: from 0, only decoding, to 1.
  double prompt_share = 0;
};

/// Consecutive ranks are the shards of a stage; stages follow one another.
struct Grid {
  std::size_t n_stages = 1, n_shards = 1;

  std::size_t n_ranks() const { return n_stages * n_shards; }
  bool operator==(const Grid&) const = default;
};

/// Who owns which blocks: what an engine needs to know of a plan. Heads, columns and chunks follow
/// from it (ownership.hpp).
struct Layout {
  Grid grid;
  std::vector<Range> stage_blocks;  ///< One for each stage, in execution order.

  bool operator==(const Layout&) const = default;
};

/// Blocks that pass rows on together.
struct StagePlan {
  Range blocks;
  RowTime
      decoding;    ///< A decoded token, at the end of the context; the last stage's with the head.
  RowTime prompt;  ///< A row of a prompt there, without the head.

  /// Seconds a row, when so many are a prompt's.
  double mean_seconds(double prompt_share) const {
    return prompt_share * prompt.total() + (1 - prompt_share) * decoding.total();
  }
};

/// One rank. Columns are those it computes of outputs that wide; chunk c of the cache is at shard
/// c mod n_shards.
struct RankPlan {
  std::size_t stage = 0, shard = 0;
  Place place;
  Range heads;
  Range channels;    ///< Columns of the residual stream (C).
  Range hidden;      ///< Columns of the channel mix (F).
  Range vocabulary;  ///< Columns of the head; none before the last stage.
  MemoryNeed memory;
};

/// How one replica of the model reads and decodes sequences.
struct Plan {
  Grid grid;
  std::size_t n_nodes = 1;
  std::size_t n_replicas = 1;
  std::vector<StagePlan> stages;
  std::vector<RankPlan> ranks;

  /// Decoding one stream: a token passes through all stages.
  double seconds_per_token() const;
  /// Decoding as many streams as there are stages: each stage works on another one.
  double tokens_per_second() const;
  /// Reading a prompt that has a step for each stage at all times.
  double prompt_tokens_per_second() const;
  /// What a further stream takes of the rank where it takes most.
  std::size_t stream_bytes() const;
};

Layout layout_of(const Plan& plan);

/// Chooses a grid, divides the blocks and checks that every rank fits where it is put. `sizes` with
/// no n_threads take the cores there are for a rank.
///
/// Grids are preferred whose shards share a node, then those of at most 16 shards; among these the
/// one in which a single stream takes least time, of whose rows `prompt_share` are read as a prompt
/// and the others decoded. Blocks are divided so that the slowest stage is as fast as can be, in
/// the mean over such rows, among the divisions that fit. Ranks of a stage are planned as if each
/// had the least memory and speed that any of them has. The number of ranks that a refusal names
/// does not depend on the share. Errors: InputError naming --stages or --shards for a grid that
/// contradicts itself or the model, and --ranks when it does not fit, with the least number of
/// ranks that does.
Plan plan_on_cluster(const RunSizes& sizes, const Machine& machine, const PlanRequest& request);

/// The same for ranks that there are, whose number is not asked for; absent when nothing fits.
/// Requires: sizes with n_threads. Errors: InputError naming --stages or --shards.
std::optional<Plan> plan_on_site(const RunSizes& sizes, const Site& site,
                                 const PlanRequest& request);

/// The least number of ranks that would fit if each had the least of what the site's ranks have,
/// shared with nobody; absent when not even kMaxRanks would.
std::optional<std::size_t> ranks_that_fit(const RunSizes& sizes, const Site& site);

}  // namespace longreach::partition
