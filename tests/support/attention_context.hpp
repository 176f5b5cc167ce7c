/// What selection and attention over chunks need of a forward pass, without a model.
#pragma once

#include "model/cache/kv_cache.hpp"
#include "model/context.hpp"
#include "tests/support/random.hpp"

#include <cstddef>
#include <utility>
#include <vector>

namespace longreach::test {

/// Heads, attention, and a context with two threads of the only shard, or of one of several.
struct AttentionContext {
  AttentionContext(std::size_t n_heads, model::AttentionMode mode, std::size_t chunk_size,
                   std::size_t top_k, model::Exchange* of_several = nullptr)
      : exchange(of_several == nullptr ? alone : *of_several) {
    config.n_head = n_heads;
    config.n_embd = n_heads * kernels::kHeadSize;
    attention.mode = mode;
    attention.chunk_size = chunk_size;
    attention.top_k = top_k;
    context.extents = model::shard_extents(config, exchange.shard());
  }

  std::size_t n_columns() const { return config.n_embd; }

  model::ModelConfig config;
  model::AttentionConfig attention;
  model::Weights weights;
  kernels::ThreadPool pool{2};
  model::NoExchange alone;
  model::Exchange& exchange;
  model::Observer no_observer;
  model::Workspace workspace{config, 2};
  model::Context context{config, attention, weights, workspace, pool, exchange, {}, &no_observer};
};

/// Rows of numbers, [n, columns].
struct Numbers {
  Numbers(Random& random, std::size_t n_rows, std::size_t n_columns)
      : values(random.normal(n_rows * n_columns)), n_columns_(n_columns) {}
  base::MatView<const float> rows(std::size_t first, std::size_t n) const {
    return {values.data() + first * n_columns_, n, n_columns_};
  }
  base::MatView<const float> all() const { return rows(0, values.size() / n_columns_); }

  std::vector<float> values;

 private:
  std::size_t n_columns_;
};

}  // namespace longreach::test
