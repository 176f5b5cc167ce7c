/// What every step of the forward pass is given: weights, configuration, threads, the buffers it
/// works in, and the way to the other shards.
#pragma once

#include "kernels/attention/attention.hpp"
#include "kernels/base/view.hpp"
#include "kernels/threads/parallel.hpp"
#include "model/cache/selection.hpp"
#include "model/exchange.hpp"
#include "model/observer.hpp"
#include "model/schema/config.hpp"
#include "model/step.hpp"
#include "model/weights.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace longreach::model {

/// Queries of a head that are treated together, at least: they share the reading of what they see.
inline constexpr std::size_t kGroupQueries = 64;

/// Closed chunks that a group of queries is scored with before the best of them are taken: so few
/// that their scores, 2 MiB, stay in a core's share of the caches.
inline constexpr std::size_t kScoredChunks = 8192;

/// Rows whose logits are computed, and travel, together: enough to reuse the head's weights, few
/// enough to keep V numbers for each.
inline constexpr std::size_t kLogitRows = 64;

/// Rows of numbers, one row a token.
class Rows {
 public:
  Rows() = default;
  Rows(std::size_t max_rows, std::size_t cols) : data_(max_rows * cols), cols_(cols) {}
  /// The first n rows, [n, cols].
  base::MatView<float> first(std::size_t n) {
    LR_DCHECK(n * cols_ <= data_.size());
    return {data_.data(), n, cols_};
  }

 private:
  base::Buffer<float> data_;
  std::size_t cols_ = 0;
};

/// Numbers that grow when needed, and are kept.
class Scratch {
 public:
  /// Makes room for n numbers; what was there is gone.
  void grow(std::size_t n) {
    if (n > data_.size()) data_ = base::Buffer<float>(n);
  }
  std::span<float> first(std::size_t n) { return data_.span().first(n); }
  /// Room for n bytes; what was there is gone.
  std::span<std::byte> bytes(std::size_t n) {
    const std::size_t n_numbers = (n + sizeof(float) - 1) / sizeof(float);
    grow(n_numbers);
    return std::as_writable_bytes(first(n_numbers)).first(n);
  }

 private:
  base::Buffer<float> data_;
};

/// What a weighed query saw of a chunk; its weights follow one another in blocks of rows.
struct WeighedVisit {
  std::size_t head;
  ChunkVisit visit;
};

/// Scratch of one worker, grown when needed and kept.
struct WorkerScratch {
  std::vector<float> scores;          ///< Of queries with some closed chunks.
  std::vector<std::uint32_t> chosen;  ///< By one query, of the local chunks.
  std::vector<Candidate> candidates;  ///< For one query.
  std::vector<ChunkVisit> visits;     ///< Of a group of queries of one head.
  std::vector<float> queries;         ///< Those that see the same rows, [n, 64].
  std::vector<std::uint32_t> last;    ///< What they see of these.
  std::vector<kernels::Partial> partials;
  std::vector<WeighedVisit> weighed;               ///< Visits of a step's attention.
  std::vector<kernels::SpanWeights> span_weights;  ///< Those of all weighed visits.
  std::vector<kernels::SpanWeights*> weights;      ///< Where those of `queries` go, or null.
};

/// All buffers of a forward pass, made once. C channels, F hidden size, R the low ranks of a time
/// mix together, Q the largest rank of factored matrices.
struct Workspace {
  Workspace(const ModelConfig& config, std::size_t n_workers);
  /// Bytes of the rows that steps of up to n_rows use.
  static std::size_t row_bytes(const ModelConfig& config, std::size_t n_rows);

  Rows x, v_first;        ///< [step, C]: the residual stream; the first block's values.
  Rows normed, mixed;     ///< [step, C]: a mix's normalised input; after the token shift.
  Rows r, w, k, v, a, g;  ///< [step, C]: projections.
  Rows y, out;            ///< [step, C]: heads' output; a mix's output.
  Rows hidden;            ///< [step, F]: channel mix.
  Rows low_rank;          ///< [step, R], between the two factors of a time mix's products.
  Rows factored;          ///< [step, Q], between those of a factored matrix.
  Selection selection;    ///< Of chunks, by a sparse block's queries.
  std::vector<Candidate> candidates;                               ///< Of all shards.
  std::vector<kernels::Partial> totals;                            ///< [own head][step]
  std::vector<kernels::Partial> sent_partials, received_partials;  ///< Between shards.
  Scratch sent, received;                                          ///< Between shards.
  std::vector<WorkerScratch> workers;
};

/// Handed down by reference; the parts outlive it.
struct Context {
  const ModelConfig& config;
  const AttentionConfig& attention;
  const Weights& weights;
  Workspace& workspace;
  kernels::ThreadPool& pool;
  Exchange& exchange;
  ShardExtents extents;  ///< Of this shard.
  Observer* observer;    ///< Never null; one that ignores everything unless someone looks on.
  base::Activations activations =
      base::Activations::kF32;  ///< What products and attention round to.
};

}  // namespace longreach::model
