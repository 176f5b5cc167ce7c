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
  const std::size_t first_head = partition::heads_of(n_head, part.shard).begin;
  for (std::size_t b = 0; b < state.blocks.size(); ++b) {
    const std::size_t block = part.blocks.begin + b;
    const auto report = [&](double share_done) {
      return !progress || progress((static_cast<double>(b) + share_done) / n_blocks);
    };
    bool go_on = true;
    const auto fill_field = [&]<typename Field>(Field& field, const auto& row) {
      if constexpr (std::is_same_v<Field, KvCache>) {
        go_on = append_rows(field, part.shard, n_head * kernels::kHeadSize, n_tokens,
                            numbers(seed, "key", block, kDeviation),
                            numbers(seed, "value", block, kDeviation), pool, report);
      } else {
        const bool is_matrix = row.split == Split::kByHeads;
        fill(std::span(field.data(), field.size()),
             is_matrix ? first_head * kernels::kHeadStateSize : 0,
             numbers(seed, row.name, block, is_matrix ? kStateDeviation : kDeviation));
      }
    };
    std::visit([&](auto& fields) { visit_state(fields, fill_field); }, state.blocks[b]);
    if (!go_on) return false;
  }
  return true;
}

}  // namespace longreach::model
