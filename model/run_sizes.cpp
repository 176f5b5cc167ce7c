#include "model/run_sizes.hpp"

#include "kernels/attention/kv_rows.hpp"
#include "model/cache/attention_span.hpp"
#include "model/cache/chunk_index.hpp"
#include "model/context.hpp"
#include "model/schema/tensors.hpp"
#include "model/state.hpp"

#include <algorithm>
#include <functional>

namespace longreach::model {
namespace {

using kernels::kHeadSize;
using partition::kPanelColumns;

/// Adds up what the tensors that it visits take once they are loaded, and the multiply-adds of a
/// row's products with them.
class WeightCounts {
 public:
  WeightCounts(const Extents& extents, base::WeightFormat format)
      : extents_(extents), format_(format) {}

  void operator()(const Tensor&, const TensorSpec&) {}  // stays in its file

  void operator()(const Vector&, const TensorSpec& spec) {
    std::size_t n_numbers = 1;
    for (const std::size_t extent : extents_.shape(spec)) n_numbers *= extent;
    bytes_.add_whole(n_numbers * sizeof(float));
  }

  /// Columns are filled up to whole panels.
  void operator()(const kernels::PackedMatrix&, const TensorSpec& spec) {
    const std::size_t n_inputs = extents_.n_inputs(spec);
    const std::size_t n_columns = partition::padded(extents_.n_outputs(spec));
    add_columns(bytes_, spec.split, n_columns, base::column_bytes(format_, n_inputs));
    add_columns(multiply_adds_, spec.split, n_columns, n_inputs);
  }

  const partition::ShardedAmount& bytes() const { return bytes_; }
  const partition::ShardedAmount& multiply_adds() const { return multiply_adds_; }

 private:
  static void add_columns(partition::ShardedAmount& sum, Split split, std::size_t n_columns,
                          std::size_t column_amount) {
    switch (split) {
      case Split::kWhole:
        return sum.add_whole(n_columns * column_amount);
      case Split::kByHeads:
        return sum.add_divided(n_columns / kHeadSize, kHeadSize * column_amount);
      case Split::kByPanels:
        return sum.add_divided(n_columns / kPanelColumns, kPanelColumns * column_amount);
    }
  }

  Extents extents_;
  base::WeightFormat format_;
  partition::ShardedAmount bytes_, multiply_adds_;
};

partition::BlockSizes block_sizes(const ModelConfig& config, const BlockRef& block,
                                  base::WeightFormat format) {
  const Extents extents(config, block);
  WeightCounts weights(extents, format);
  BlockWeights fields = empty_block(block.kind);
  visit_tensors(fields, block, by_matrices(extents, std::ref(weights)));
  return {block.kind, weights.bytes(), state_bytes(config, block.kind), weights.multiply_adds()};
}

partition::CacheSizes cache_sizes(const ModelConfig& config, const AttentionConfig& attention,
                                  std::size_t context_tokens) {
  const auto rows_bytes = [&](std::size_t n_rows) {
    return config.n_head * kernels::HeadLayout(attention.kv, n_rows).size_bytes();
  };
  return {.chunk_bytes = rows_bytes(attention.chunk_size),
          .open_bytes = rows_bytes(context_tokens % attention.chunk_size),
          .mean_bytes = MeanKeyIndex(config.n_head).bytes_per_chunk()};
}

}  // namespace

partition::RunSizes run_sizes(const ModelConfig& config, const AttentionConfig& attention,
                              base::WeightFormat weights, std::size_t context_tokens,
                              std::size_t call_tokens, std::size_t n_threads) {
  partition::RunSizes sizes;
  sizes.vocab_size = config.vocab_size;
  sizes.n_embd = config.n_embd;
  sizes.n_head = config.n_head;
  sizes.ffn_size = config.ffn_size;
  for (const BlockRef& block : config.execution_order()) {
    sizes.blocks.push_back(block_sizes(config, block, weights));
  }
  Weights fields;
  WeightCounts input(Extents(config), weights), output(Extents(config), weights);
  visit_input_tensors(fields, input);
  visit_output_tensors(fields, output);
  sizes.input = input.bytes();
  sizes.output = output.bytes();

  sizes.chunk_size = attention.chunk_size;
  sizes.context_tokens = context_tokens;
  sizes.attended = attended_rows(attention, context_tokens);
  sizes.attended.row_bytes = config.n_head * kept_row_bytes(attention.kv);
  if (attention.mode != AttentionMode::kNone) {
    sizes.cache = cache_sizes(config, attention, context_tokens);
  }

  // Mode reference holds a call's rows, and the first block's values, all at once besides.
  const std::size_t call_bytes = attention.mode == AttentionMode::kReference
                                     ? 2 * call_tokens * config.n_embd * sizeof(float)
                                     : 0;
  const std::size_t n_rows =
      std::min(prompt_step_rows(config, attention, context_tokens), context_tokens);
  sizes.step_rows = std::max<std::size_t>(1, n_rows);
  const bool has_scores = config.n_sparse > 0 && attention.mode != AttentionMode::kNone;
  sizes.buffers = {.row_bytes = Workspace::row_bytes(config, n_rows) + call_bytes,
                   .score_bytes = has_scores ? kGroupQueries * sizeof(float) : 0,
                   .most_scored = kScoredChunks,
                   .logit_bytes = kLogitRows * (config.vocab_size + config.n_embd) * sizeof(float)};
  sizes.n_threads = n_threads;
  return sizes;
}

}  // namespace longreach::model
