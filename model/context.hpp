/// What every step of the forward pass is given: weights, configuration, threads and the buffers it
/// works in.
#pragma once

#include "kernels/attention.hpp"
#include "kernels/base/view.hpp"
#include "kernels/parallel.hpp"
#include "model/config.hpp"
#include "model/weights.hpp"
#include "partition/memory.hpp"

#include <algorithm>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace longreach::model {

/// Tokens that pass through a block together. Longer calls go in pieces of this many.
inline constexpr std::size_t kSliceTokens = 256;

/// Rows of numbers, one row a token.
class Rows {
 public:
  Rows(std::size_t max_rows, std::size_t cols) : data_(max_rows * cols), cols_(cols) {}
  /// The first n rows, [n, cols].
  base::MatView<float> first(std::size_t n) {
    LR_DCHECK(n * cols_ <= data_.size());
    return {data_.data(), n, cols_};
  }
  /// Makes room for n rows; what was there is gone.
  void grow(std::size_t n) {
    if (n * cols_ > data_.size()) data_ = base::Buffer<float>(n * cols_);
  }

 private:
  base::Buffer<float> data_;
  std::size_t cols_;
};

/// That a query sees rows first .. last-1 of a chunk.
struct Sighting {
  std::uint32_t chunk, first, query, last;
  auto operator<=>(const Sighting&) const = default;
};

/// Scratch of one worker, grown when needed and kept.
struct WorkerScratch {
  std::vector<float> scores;          ///< Of queries with closed chunks.
  std::vector<std::uint32_t> chosen;  ///< By one query.
  std::vector<Sighting> sightings;    ///< Of a group of queries of one head.
  std::vector<float> queries;         ///< Those that see the same rows, [n, 64].
  std::vector<std::uint32_t> last;    ///< What they see of these.
  std::vector<kernels::Partial> partials, totals;
};

/// All buffers of a forward pass, made once. C channels, F hidden size, R largest low rank.
struct Workspace {
  Workspace(const ModelConfig& config, std::size_t n_workers);

  Rows x, v_first;        ///< [call or slice, C]: the residual stream; the first block's values.
  Rows normed, mixed;     ///< [slice, C]: a mix's normalised input; after the token shift.
  Rows r, w, k, v, a, g;  ///< [slice, C]: projections.
  Rows y, out;            ///< [slice, C]: heads' output; a mix's output.
  Rows hidden;            ///< [slice, F]: channel mix.
  Rows low_rank;          ///< [slice, R]
  std::vector<WorkerScratch> workers;
};

/// What the memory of a run depends on: a sequence of `context_tokens`, whose longest call has
/// `call_tokens`.
partition::RunSizes run_sizes(const ModelConfig& config, const AttentionConfig& attention,
                              base::WeightFormat weights, std::size_t context_tokens,
                              std::size_t call_tokens, std::size_t n_threads);

/// Handed down by reference; the parts outlive it.
struct Context {
  const ModelConfig& config;
  const AttentionConfig& attention;
  const Weights& weights;
  Workspace& workspace;
  kernels::ThreadPool& pool;
};

}  // namespace longreach::model
