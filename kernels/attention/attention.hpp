/// Attention of one query over rows of a chunk, and the choice of chunks.
///
/// A chunk's softmax is computed over fixed blocks of its rows; what is known of it is a Partial.
/// Partials are merged block after block within a chunk, then chunk after chunk, so the bits do not
/// depend on where a chunk lies or what is computed beside it.
#pragma once

#include "kernels/attention/kv_rows.hpp"
#include "kernels/matmul/matrix.hpp"
#include "kernels/recurrence/recurrence.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>

namespace longreach::kernels {

/// Rows of a chunk whose softmax is computed at once. A multiple of kPanelCols.
inline constexpr std::size_t kAttentionBlockRows = 256;

/// Queries whose scores with a block of rows are held at a time.
inline constexpr std::size_t kAttentionTileQueries = 12;

/// An unfinished softmax-weighted sum: sum of exp(score - max) * value, and of the weights.
struct Partial {
  float max = -std::numeric_limits<float>::infinity();
  float weight = 0;
  std::array<float, kHeadSize> sum{};
};

/// Rows whose weights are added up where attention is to say which rows it gave weight to.
inline constexpr std::size_t kSpanRows = kPanelCols;

/// How a query's softmax over a block of rows divides between spans of kSpanRows: the weight of a
/// span is spans[i] * exp(max).
struct SpanWeights {
  float max = -std::numeric_limits<float>::infinity();
  std::array<float, kAttentionBlockRows / kSpanRows> spans{};
};

/// partials[i] = that of query i over rows first .. last[i]-1 of a chunk, score = q . k / sqrt(64).
/// The queries share the reading of keys and values; the bits of each are those it has alone.
/// Numbers become f32, exactly; the scale of a key is multiplied into its score, that of a value
/// into its weight.
/// weights[i], if there are any and it is not null, gets the weights of query i in the blocks up to
/// last[i]; partials are the same with and without.
/// With activations of fewer bits than f32, and numbers of the cache that have fewer, queries are
/// rounded to bf16 where they meet keys, and weights, their value's scale included, where they meet
/// values (rounded_product.hpp); weights are added up as they are.
/// Shapes:   q [n, 64], n >= 1, last and partials n, weights n or none; rows.keys readable to whole
///           panels.
/// Requires: first < last[i], last ascending; with weights, first is 0.
/// Numerics: f32; scores are summed over channels and values over rows, ascending, the weights of a
/// block as in layer_norm() of rows.hpp. A NaN in what a query sees makes its partial NaN.
/// Threads:  single-threaded, re-entrant.      Allocates: no
/// Source:   model-spec section 4.
void attend(base::MatView<const float> q, const ChunkRows& rows, std::size_t first,
            std::span<const std::uint32_t> last, std::span<Partial> partials,
            std::span<SpanWeights* const> weights = {},
            base::Activations activations = base::Activations::kF32) noexcept;

/// scores[r][i] = q[r] . key of row i. Shapes: q [n, 64], scores [n, rows].
void score_keys(base::MatView<const float> q, const ChunkRows& rows,
                base::MatView<float> scores) noexcept;

/// Makes the weights of a block's spans shares of the whole softmax, of whose partial these are the
/// maximum and the weight.
void normalise(float max, float weight, SpanWeights& block) noexcept;

/// Adds `next`, which comes behind everything in `total`.
void merge(Partial& total, const Partial& next) noexcept;

/// out = sum / weight. Requires: at least one row was attended to.
void finish(const Partial& total, std::span<float> out) noexcept;

/// votes[i] += softmax(scores / sqrt(64))[i] over all scores, which are overwritten.
void add_softmax(std::span<float> scores, std::span<float> votes) noexcept;

/// The k best of scores[0..n) as ascending chunk numbers in `chosen`; returns how many, at most k.
/// Higher scores win, then lower numbers; a NaN never wins. Shapes: `chosen` k or more.
std::size_t choose_chunks(std::span<const float> scores, std::size_t k,
                          std::span<std::uint32_t> chosen) noexcept;

}  // namespace longreach::kernels
