#include "model/reference/eviction.hpp"

#include "kernels/attention/attention.hpp"

#include <algorithm>
#include <numeric>

namespace longreach::model::reference {
namespace {

using base::MatView;
using kernels::kHeadSize;

/// Rows of the new cache that are copied at a time.
constexpr std::size_t kCopiedRows = 1024;

}  // namespace

bool eviction_due(const AttentionConfig& config, std::size_t n_rows) {
  return config.kv_max > 0 && n_rows > config.kv_max && n_rows > config.kv_min;
}

Eviction::Eviction(Context& context, const KvCache& cache)
    : context_(context),
      cache_(cache),
      n_past_(cache.size() - context.attention.kv_window),
      n_kept_(context.attention.kv_min - context.attention.kv_window),
      votes_(context.config.n_head, std::vector<float>(n_past_)) {
  LR_CHECK(context.exchange.shard().count == 1);
  LR_CHECK(context.attention.kv_window < context.attention.kv_min);
}

void Eviction::add_votes(MatView<const float> q) {
  const std::size_t chunk_size = cache_.chunk_size();
  context_.pool.for_each(votes_.size(), [&](std::size_t head, std::size_t) {
    std::vector<float> scores(n_past_);
    for (std::size_t t = 0; t < q.rows(); ++t) {
      for (std::size_t first = 0; first < n_past_; first += chunk_size) {
        const std::size_t n = std::min(chunk_size, n_past_ - first);
        kernels::score_keys({q.row(t).data() + head * kHeadSize, 1, kHeadSize},
                            cache_.rows(cache_.chunk_of_row(first), head),
                            {scores.data() + first, 1, n});
      }
      kernels::add_softmax(scores, votes_[head]);
    }
  });
}

std::vector<std::uint32_t> Eviction::choose_rows() const {
  const std::size_t n_rows = context_.attention.kv_min;
  std::vector<std::uint32_t> kept(votes_.size() * n_rows);
  context_.pool.for_each(votes_.size(), [&](std::size_t head, std::size_t) {
    const std::vector<float>& votes = votes_[head];
    std::vector<std::uint32_t> rows(n_past_);
    std::iota(rows.begin(), rows.end(), 0U);
    std::stable_sort(rows.begin(), rows.end(),
                     [&](std::uint32_t a, std::uint32_t b) { return votes[a] > votes[b]; });
    const auto to = kept.begin() + static_cast<std::ptrdiff_t>(head * n_rows);
    std::copy_n(rows.begin(), n_kept_, to);
    std::iota(to + static_cast<std::ptrdiff_t>(n_kept_), to + static_cast<std::ptrdiff_t>(n_rows),
              static_cast<std::uint32_t>(n_past_));
  });
  return kept;
}

KvCache Eviction::kept_rows() const {
  const std::vector<std::uint32_t> kept = choose_rows();
  const std::size_t n_rows = context_.attention.kv_min, n_heads = votes_.size();
  KvCache result(n_heads, cache_.chunk_size(), cache_.format(), context_.exchange);
  Rows k(kCopiedRows, n_heads * kHeadSize), v(kCopiedRows, n_heads * kHeadSize);
  for (std::size_t begin = 0; begin < n_rows; begin += kCopiedRows) {
    const std::size_t n = std::min(kCopiedRows, n_rows - begin);
    const auto keys = k.first(n), values = v.first(n);
    context_.pool.for_each(n_heads, [&](std::size_t head, std::size_t) {
      for (std::size_t i = 0; i < n; ++i) {
        const std::size_t old_row = kept[head * n_rows + begin + i];
        kernels::read_row(cache_.rows(cache_.chunk_of_row(old_row), head),
                          old_row % cache_.chunk_size(),
                          keys.row(i).subspan(head * kHeadSize, kHeadSize),
                          values.row(i).subspan(head * kHeadSize, kHeadSize));
      }
    });
    result.append(keys, values, context_.pool);  // rounded again, a row keeps its bits
  }
  return result;
}

}  // namespace longreach::model::reference
