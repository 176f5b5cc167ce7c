#include "model/synthetic.hpp"

#include "model/random_numbers.hpp"

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

void fill(std::span<float> to, const RandomNumbers& numbers) {
  for (std::size_t i = 0; i < to.size(); ++i) to[i] = numbers.at(i);
}

/// Rows from first_row on.
void fill_rows(base::MatView<float> to, std::size_t first_row, const RandomNumbers& numbers,
               kernels::ThreadPool& pool) {
  pool.for_each(to.rows(), [&](std::size_t t, std::size_t) {
    const std::size_t first = (first_row + t) * to.cols();
    for (std::size_t c = 0; c < to.cols(); ++c) to.row(t)[c] = numbers.at(first + c);
  });
}

}  // namespace

bool append_random_tokens(SequenceState& state, std::size_t n_tokens, std::uint64_t seed,
                          kernels::ThreadPool& pool, const Progress& progress) {
  for (std::size_t b = 0; b < state.blocks.size(); ++b) {
    if (auto* rwkv = std::get_if<RwkvState>(&state.blocks[b])) {
      fill(rwkv->att_shift, numbers(seed, "att_shift", b, kDeviation));
      fill(rwkv->ffn_shift, numbers(seed, "ffn_shift", b, kDeviation));
      fill(rwkv->wkv.span(), numbers(seed, "wkv", b, kStateDeviation));
      continue;
    }
    auto& sparse = std::get<SparseState>(state.blocks[b]);
    fill(sparse.ffn_shift, numbers(seed, "ffn_shift", b, kDeviation));
    const std::size_t n_channels = sparse.ffn_shift.size(), first_row = sparse.cache.size();
    Rows k(kSliceTokens, n_channels), v(kSliceTokens, n_channels);
    for (std::size_t done = 0; done < n_tokens; done += kSliceTokens) {
      const std::size_t n = std::min(kSliceTokens, n_tokens - done);
      fill_rows(k.first(n), first_row + done, numbers(seed, "key", b, kDeviation), pool);
      fill_rows(v.first(n), first_row + done, numbers(seed, "value", b, kDeviation), pool);
      sparse.cache.append(k.first(n), v.first(n), pool);
      const double blocks_done =
          static_cast<double>(b) + static_cast<double>(done + n) / static_cast<double>(n_tokens);
      if (progress && !progress(blocks_done / static_cast<double>(state.blocks.size())))
        return false;
    }
  }
  return true;
}

}  // namespace longreach::model
