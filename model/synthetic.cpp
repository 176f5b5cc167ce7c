#include "model/synthetic.hpp"

#include "model/checkpoint/random_numbers.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>

namespace longreach::model {
namespace {

/// Normalised inputs, keys and values of a layer deviate by about 1; so do sums of a state's rows
/// times a receptance.
constexpr float kDeviation = 1, kStateDeviation = 0.125F;

/// Random numbers of one kind and block.
RandomNumbers numbers(std::uint64_t seed, std::string_view kind, std::size_t block,
                      float deviation) {
  return {key_of(fmt::format("{} {} {}", seed, kind, block)), 0, deviation};
}

/// Numbers from index `first` on.
void fill(std::span<float> to, std::size_t first, const RandomNumbers& numbers) {
  for (std::size_t i = 0; i < to.size(); ++i) to[i] = numbers.at(first + i);
}

/// Appends rows to a cache. Only those that this shard keeps are made. Returns as `progress` does.
bool append_rows(KvCache& cache, partition::Shard shard, std::size_t n_channels, std::size_t n_rows,
                 const RandomNumbers& keys, const RandomNumbers& values, kernels::ThreadPool& pool,
                 const Progress& progress) {
  Rows k(kStepRows, n_channels), v(kStepRows, n_channels);
  for (std::size_t done = 0; done < n_rows;) {
    const std::size_t n = std::min(kStepRows, n_rows - done), first_row = cache.size();
    const auto k_rows = k.first(n), v_rows = v.first(n);
    pool.for_each(n, [&](std::size_t i, std::size_t) {
      if (cache.owner_of_row(first_row + i) != shard.index) return;
      fill(k_rows.row(i), (first_row + i) * n_channels, keys);
      fill(v_rows.row(i), (first_row + i) * n_channels, values);
    });
    cache.append(k_rows, v_rows, pool);
    done += n;
    if (progress && !progress(static_cast<double>(done) / static_cast<double>(n_rows)))
      return false;
  }
  return true;
}

}  // namespace

bool append_random_tokens(SequenceState& state, const Part& part, std::size_t n_head,
                          std::size_t n_tokens, std::uint64_t seed, kernels::ThreadPool& pool,
                          const Progress& progress) {
  const auto n_blocks = static_cast<double>(state.blocks.size());
  for (std::size_t b = 0; b < state.blocks.size(); ++b) {
    const std::size_t block = part.blocks.begin + b;
    const RandomNumbers shifts = numbers(seed, "ffn_shift", block, kDeviation);
    if (auto* rwkv = std::get_if<RwkvState>(&state.blocks[b])) {
      fill(rwkv->att_shift, 0, numbers(seed, "att_shift", block, kDeviation));
      fill(rwkv->ffn_shift, 0, shifts);
      const std::size_t first_head = partition::heads_of(n_head, part.shard).begin;
      fill(rwkv->wkv.span(), first_head * kernels::kHeadStateSize,
           numbers(seed, "wkv", block, kStateDeviation));
      continue;
    }
    auto& sparse = std::get<SparseState>(state.blocks[b]);
    fill(sparse.ffn_shift, 0, shifts);
    const auto report = [&](double share_done) {
      return !progress || progress((static_cast<double>(b) + share_done) / n_blocks);
    };
    if (!append_rows(sparse.cache, part.shard, sparse.ffn_shift.size(), n_tokens,
                     numbers(seed, "key", block, kDeviation),
                     numbers(seed, "value", block, kDeviation), pool, report)) {
      return false;
    }
  }
  return true;
}

}  // namespace longreach::model
