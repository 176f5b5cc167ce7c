#include "model/forward.hpp"

#include "kernels/matmul/matrix.hpp"
#include "model/blocks/residual_block.hpp"
#include "model/blocks/sparse_attention.hpp"
#include "model/blocks/time_mix.hpp"
#include "model/checkpoint/matrix_rows.hpp"

#include <optional>
#include <utility>
#include <variant>
#include <vector>

namespace longreach::model {
namespace {

using base::MatView;

/// One block's work on a step.
class StepBlock {
 public:
  StepBlock(Context& context, std::size_t block, const Step& step, MatView<float> x,
            MatView<float> v_first, std::span<SequenceState* const> states)
      : context_(context), block_(block), step_(step), x_(x), v_first_(v_first), states_(states) {
    const bool is_last =
        context.weights.has_last_block() && block + 1 == context.weights.blocks.size();
    if (!is_last || context.observer->sees_all_rows()) return;
    LastRows last(step);
    if (last.rows.size() < step.n_rows()) last_ = std::move(last);
  }

  void operator()(const RwkvBlockWeights& weights) {
    const std::vector<RwkvState*> states = block_states<RwkvState>();
    const bool is_first = context_.weights.part.blocks.begin + block_ == 0;
    const auto residual = is_first ? ValueResidual::kDefines : ValueResidual::kUses;
    const partition::Range own = context_.extents.head_columns;
    residual_block(context_, weights, step_, x_, ffn_shifts(states), last(),
                   [&](auto in, MatView<float> y) {
                     time_mix(context_, weights, step_, in, residual, v_first_, states, y);
                     if (last_) last_->gather(y.cols(own.begin, own.size()));
                   });
  }

  void operator()(const SparseBlockWeights& weights) {
    const std::vector<SparseState*> states = block_states<SparseState>();
    std::vector<SegmentCache> caches;
    for (std::size_t s = 0; s < states.size(); ++s) {
      caches.push_back({&states[s]->cache, step_.first_row(s), step_.segments()[s].n_rows});
    }
    residual_block(context_, weights, step_, x_, ffn_shifts(states), last(), [&](auto in, auto y) {
      sparse_attention(context_, weights, caches, in, last(), y);
    });
  }

 private:
  /// Null where all rows go on: always, but in the model's last block.
  const LastRows* last() const { return last_ ? &*last_ : nullptr; }

  /// The block's states of the segments' sequences.
  template <typename State>
  std::vector<State*> block_states() const {
    std::vector<State*> result;
    for (SequenceState* state : states_) {
      result.push_back(&std::get<State>(state->blocks[block_]));
    }
    return result;
  }

  template <typename State>
  static std::vector<std::vector<float>*> ffn_shifts(const std::vector<State*>& states) {
    std::vector<std::vector<float>*> result;
    for (State* state : states) result.push_back(&state->ffn_shift);
    return result;
  }

  Context& context_;
  std::size_t block_;  ///< Of the stage.
  const Step& step_;
  MatView<float> x_, v_first_;
  std::span<SequenceState* const> states_;
  std::optional<LastRows> last_;
};

}  // namespace

void embed(Context& context, std::span<const base::TokenId> tokens, MatView<float> x) {
  context.pool.for_each(tokens.size(), [&](std::size_t t, std::size_t) {
    read_row(context.weights.embedding, static_cast<std::size_t>(tokens[t]), x.row(t));
  });
  norm_rows(context.pool, x, context.weights.ln0, x);
}

bool run_blocks(Context& context, const Step& step, MatView<float> x, MatView<float> v_first,
                std::span<SequenceState* const> states, const Progress& progress) {
  const std::size_t n_blocks = context.weights.blocks.size();
  context.observer->begin_step(step);
  for (std::size_t b = 0; b < n_blocks; ++b) {
    context.exchange.begin_block(context.weights.part.blocks.begin + b);
    context.observer->begin_block(context.weights.part.blocks.begin + b);
    std::visit(StepBlock(context, b, step, x, v_first, states), context.weights.blocks[b]);
    const double share_done = static_cast<double>(b + 1) / static_cast<double>(n_blocks);
    if (progress && !progress(share_done)) return false;
  }
  return true;
}

void compute_logits(Context& context, MatView<const float> x, MatView<float> logits) {
  const auto normed = context.workspace.normed.first(x.rows());
  norm_rows(context.pool, x, context.weights.ln_out, normed);
  kernels::multiply(context.pool, normed, context.weights.head, logits);
}

}  // namespace longreach::model
