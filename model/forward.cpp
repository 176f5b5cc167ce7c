#include "model/forward.hpp"

#include "kernels/matmul/matrix.hpp"
#include "model/blocks/channel_mix.hpp"
#include "model/blocks/column_split.hpp"
#include "model/blocks/row_steps.hpp"
#include "model/blocks/sparse_attention.hpp"
#include "model/blocks/time_mix.hpp"
#include "model/checkpoint/matrix_rows.hpp"
#include "model/reference/eviction.hpp"

#include <algorithm>
#include <optional>

namespace longreach::model {
namespace {

using base::MatView;

/// A pre-norm residual block of a slice: x += mix(LN(x; ln1)); x += channel_mix(LN(x; ln2)).
/// mix(in, out) is the block's time mix or attention.
template <typename BlockWeights, typename Mix>
void residual_block(Context& context, const BlockWeights& weights, MatView<float> x,
                    std::vector<float>& ffn_shift, Mix&& mix) {
  const auto normed = context.workspace.normed.first(x.rows());
  const auto out = context.workspace.out.first(x.rows());
  norm_rows(context.pool, x, weights.ln1, normed);
  mix(normed, out);
  if (context.observer != nullptr) context.observer->see_rows("mix", out);
  add_rows(context.pool, out, x);
  norm_rows(context.pool, x, weights.ln2, normed);
  channel_mix(context, weights.channel_mix, normed, ffn_shift, out);
  add_rows(context.pool, out, x);
  if (context.observer != nullptr) context.observer->see_rows("output", x);
}

/// Calls slice(first, n) for the slices of n_rows; false as soon as one of them gives false.
template <typename Slice>
bool for_slices(std::size_t n_rows, Slice&& slice) {
  for (std::size_t first = 0; first < n_rows; first += kSliceTokens) {
    if (!slice(first, std::min(kSliceTokens, n_rows - first))) return false;
  }
  return true;
}

/// Evicts rows before a call of the reference mode, if it is due. The votes are those of the whole
/// call x [T, C]: of the projected query in a one-token call, else (as in the released package) of
/// the normalised input itself.
void evict_if_due(Context& context, const SparseBlockWeights& weights, MatView<const float> x,
                  KvCache& cache) {
  if (!eviction_due(context.attention, cache.size())) return;
  Eviction eviction(context, cache);
  for_slices(x.rows(), [&](std::size_t first, std::size_t n) {
    const auto normed = context.workspace.normed.first(n);
    norm_rows(context.pool, x.rows(first, n), weights.ln1, normed);
    if (x.rows() == 1) {
      const auto q = context.workspace.r.first(n);
      const partition::Range own = context.extents.head_columns;
      kernels::multiply(context.pool, normed, weights.receptance, q.cols(own.begin, own.size()));
      all_gather_columns(context, ColumnSplit::kHeads, q);
      eviction.add_votes(q);
    } else {
      eviction.add_votes(normed);
    }
    return true;
  });
  cache = eviction.kept_rows();
}

}  // namespace

void embed(Context& context, std::span<const base::TokenId> tokens, MatView<float> x) {
  context.pool.for_each(tokens.size(), [&](std::size_t t, std::size_t) {
    read_row(context.weights.embedding, static_cast<std::size_t>(tokens[t]), x.row(t));
  });
  norm_rows(context.pool, x, context.weights.ln0, x);
}

bool run_blocks(Context& context, MatView<float> x, MatView<float> v_first, SequenceState& state,
                const Progress& progress) {
  const std::size_t n_blocks = context.weights.blocks.size();
  for (std::size_t b = 0; b < n_blocks; ++b) {
    context.exchange.begin_block(context.weights.part.blocks.begin + b);
    const auto report = [&](std::size_t n_done) {
      const double blocks_done =
          static_cast<double>(b) + static_cast<double>(n_done) / static_cast<double>(x.rows());
      return !progress || progress(blocks_done / static_cast<double>(n_blocks));
    };
    const auto begin_slice = [&](std::size_t first) {
      if (context.observer == nullptr) return;
      context.observer->begin_slice(context.weights.part.blocks.begin + b, first);
    };
    bool go_on = true;
    if (const auto* rwkv = std::get_if<RwkvBlockWeights>(&context.weights.blocks[b])) {
      auto& block_state = std::get<RwkvState>(state.blocks[b]);
      const bool is_first = context.weights.part.blocks.begin + b == 0;
      const auto residual = is_first ? ValueResidual::kDefines : ValueResidual::kUses;
      go_on = for_slices(x.rows(), [&](std::size_t first, std::size_t n) {
        begin_slice(first);
        residual_block(
            context, *rwkv, x.rows(first, n), block_state.ffn_shift, [&](auto in, auto out) {
              time_mix(context, *rwkv, in, residual, v_first.rows(first, n), block_state, out);
            });
        return report(first + n);
      });
    } else {
      const auto& sparse = std::get<SparseBlockWeights>(context.weights.blocks[b]);
      auto& block_state = std::get<SparseState>(state.blocks[b]);
      evict_if_due(context, sparse, x, block_state.cache);
      const CallRows call{block_state.cache.size(), x.rows()};
      go_on = for_slices(x.rows(), [&](std::size_t first, std::size_t n) {
        begin_slice(first);
        residual_block(context, sparse, x.rows(first, n), block_state.ffn_shift,
                       [&](auto in, auto out) {
                         sparse_attention(context, sparse, call, in, block_state, out);
                       });
        return report(first + n);
      });
    }
    if (!go_on) return false;
  }
  return true;
}

void compute_logits(Context& context, MatView<const float> x, MatView<float> logits) {
  const auto normed = context.workspace.normed.first(x.rows());
  norm_rows(context.pool, x, context.weights.ln_out, normed);
  kernels::multiply(context.pool, normed, context.weights.head, logits);
}

}  // namespace longreach::model
