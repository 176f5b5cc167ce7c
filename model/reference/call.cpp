#include "model/reference/call.hpp"

#include "kernels/rows/rows.hpp"
#include "model/blocks/linear_product.hpp"
#include "model/blocks/residual_block.hpp"
#include "model/blocks/sparse_attention.hpp"
#include "model/blocks/time_mix.hpp"
#include "model/reference/eviction.hpp"
#include "model/reference/span.hpp"

#include <algorithm>
#include <array>

namespace longreach::model::reference {
namespace {

using base::MatView;
using kernels::kHeadSize;

/// The step that is made of n tokens of a call.
Step step_of(std::size_t position, std::size_t n) {
  return Step({Segment{.n_rows = static_cast<std::uint32_t>(n), .position = position}});
}

/// Evicts rows before a call, if it is due. The votes are those of the whole call x [T, C]: of the
/// projected query in a one-token call, else (as in the released package) of the normalised input
/// itself.
void evict_if_due(Context& context, const SparseBlockWeights& weights, MatView<const float> x,
                  KvCache& cache) {
  if (!eviction_due(context.attention, cache.size())) return;
  Eviction eviction(context, cache);
  for (std::size_t first = 0; first < x.rows(); first += kStepRows) {
    const std::size_t n = std::min(kStepRows, x.rows() - first);
    const auto normed = context.workspace.normed.first(n);
    norm_rows(context.pool, x.rows(first, n), weights.ln1, normed);
    if (x.rows() == 1) {
      const auto q = context.workspace.r.first(n);
      linear_product(context, normed, weights.receptance, q);
      eviction.add_votes(q);
    } else {
      eviction.add_votes(normed);
    }
  }
  cache = eviction.kept_rows();
}

/// The choice of a call of one token: chunks are scored for all heads together.
void choose_for_all_heads(Context& context, const KvCache& cache, MatView<const float> q) {
  Selection& selection = context.workspace.selection;
  const std::size_t n_scored = selection.n_closed(0);
  std::vector<float> sums(n_scored), scores(n_scored);
  for (std::size_t head = 0; head < selection.n_heads(); ++head) {
    for (std::size_t first = 0; first < n_scored; first += ChunkIndex::kPieceChunks) {
      const std::size_t n = std::min(ChunkIndex::kPieceChunks, n_scored - first);
      cache.index().score(head, first / ChunkIndex::kPieceChunks,
                          q.cols(head * kHeadSize, kHeadSize), {scores.data() + first, 1, n});
    }
    kernels::add(scores, sums);
  }
  std::vector<std::uint32_t> chosen(selection.span(0).n_chosen);
  chosen.resize(kernels::choose_chunks(sums, chosen.size(), chosen));
  for (std::size_t head = 0; head < selection.n_heads(); ++head) {
    std::vector<Candidate> candidates;
    for (const std::uint32_t chunk : chosen) {
      candidates.push_back({sums[chunk], GlobalChunk{chunk}});
    }
    selection.choose(head, 0, candidates);
  }
  context.observer->see_choice(0, 0, selection.chosen(0, 0));
}

/// One block's work on a call.
class CallBlock {
 public:
  CallBlock(Context& context, std::size_t block, std::size_t position, MatView<float> x,
            MatView<float> v_first, SequenceState& state)
      : context_(context),
        block_(block),
        position_(position),
        x_(x),
        v_first_(v_first),
        state_(state.blocks[block]) {}

  /// Returns as report(rows done) does, which is called after every few rows.
  template <typename Report>
  bool run(const RwkvBlockWeights& weights, Report&& report) {
    auto& state = std::get<RwkvState>(state_);
    const auto residual = block_ == 0 ? ValueResidual::kDefines : ValueResidual::kUses;
    return for_steps(report, [&](const Step& step, std::size_t first) {
      residual_block(context_, weights, step, x_.rows(first, step.n_rows()),
                     std::array{&state.ffn_shift}, nullptr, [&](auto in, auto y) {
                       time_mix(context_, weights, step, in, residual,
                                v_first_.rows(first, step.n_rows()), std::array{&state}, y);
                     });
    });
  }

  template <typename Report>
  bool run(const SparseBlockWeights& weights, Report&& report) {
    auto& state = std::get<SparseState>(state_);
    evict_if_due(context_, weights, x_, state.cache);
    const CallRows call{state.cache.size(), x_.rows()};
    const SelectChunks select = [&](std::span<const SegmentCache> caches, MatView<const float> q) {
      Selection& selection = context_.workspace.selection;
      selection.begin(caches, context_.config.n_head, context_.attention.chunk_size,
                      [&](std::size_t row) { return span_of(context_.attention, call, row); });
      if (selection.n_slots() > 0) choose_for_all_heads(context_, state.cache, q);
    };
    return for_steps(report, [&](const Step& step, std::size_t first) {
      const std::array caches{SegmentCache{&state.cache, 0, step.n_rows()}};
      residual_block(context_, weights, step, x_.rows(first, step.n_rows()),
                     std::array{&state.ffn_shift}, nullptr, [&](auto in, auto y) {
                       sparse_attention(context_, weights, caches, in, nullptr, select, y);
                     });
    });
  }

 private:
  template <typename Report, typename Body>
  bool for_steps(Report&& report, Body&& body) {
    for (std::size_t first = 0; first < x_.rows(); first += kStepRows) {
      const std::size_t n = std::min(kStepRows, x_.rows() - first);
      const Step step = step_of(position_ + first, n);
      context_.observer->begin_step(step);
      context_.observer->begin_block(block_);
      body(step, first);
      if (!report(first + n)) return false;
    }
    return true;
  }

  Context& context_;
  std::size_t block_, position_;
  MatView<float> x_, v_first_;
  BlockState& state_;
};

}  // namespace

bool run_call(Context& context, std::size_t position, MatView<float> x, MatView<float> v_first,
              SequenceState& state, const Progress& progress) {
  LR_CHECK(context.exchange.shard().count == 1);
  const std::size_t n_blocks = context.weights.blocks.size();
  for (std::size_t b = 0; b < n_blocks; ++b) {
    context.exchange.begin_block(b);
    CallBlock block(context, b, position, x, v_first, state);
    const auto report = [&](std::size_t n_done) {
      const double blocks_done =
          static_cast<double>(b) + static_cast<double>(n_done) / static_cast<double>(x.rows());
      return !progress || progress(blocks_done / static_cast<double>(n_blocks));
    };
    const bool go_on = std::visit([&](const auto& weights) { return block.run(weights, report); },
                                  context.weights.blocks[b]);
    if (!go_on) return false;
  }
  return true;
}

}  // namespace longreach::model::reference
