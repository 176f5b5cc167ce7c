#include "model/reference/eviction.hpp"

#include "kernels/attention/attention.hpp"

#include <algorithm>
#include <numeric>

namespace longreach::model {
namespace {

using base::MatView;
using kernels::kHeadSize;
using partition::Range;

/// Rows of the new cache that change shards at a time.
constexpr std::size_t kRoundRows = 1024;

}  // namespace

bool eviction_due(const AttentionConfig& config, std::size_t n_rows) {
  return config.mode == AttentionMode::kReference && config.kv_max > 0 && n_rows > config.kv_max &&
         n_rows > config.kv_min;
}

Eviction::Eviction(Context& context, const KvCache& cache)
    : context_(context),
      cache_(cache),
      n_past_(cache.size() - context.attention.kv_window),
      n_kept_(context.attention.kv_min - context.attention.kv_window),
      votes_(context.extents.heads.size(), std::vector<float>(n_past_)) {
  LR_CHECK(context.attention.kv_window < context.attention.kv_min);
}

void Eviction::add_votes(MatView<const float> q) {
  const partition::Shard own = context_.exchange.shard();
  const std::size_t n_heads = context_.config.n_head, chunk_size = cache_.chunk_size();
  const std::size_t n_chunks = (n_past_ + chunk_size - 1) / chunk_size;
  const auto rows_in = [&](std::size_t chunk) {
    return std::min(chunk_size, n_past_ - chunk * chunk_size);
  };
  // A shard's scores of a head lie behind one another, and travel to the head's shard.
  std::vector<std::size_t> n_scored(own.count);
  for (std::size_t chunk = 0; chunk < n_chunks; ++chunk) {
    n_scored[partition::owner_of_chunk(chunk, own.count)] += rows_in(chunk);
  }
  const Range heads = context_.extents.heads;
  std::vector<Range> sent, received;
  std::size_t n_received = 0;
  for (std::size_t s = 0; s < own.count; ++s) {
    const Range to = partition::heads_of(n_heads, {s, own.count});
    sent.push_back({to.begin * n_scored[own.index] * sizeof(float),
                    to.end * n_scored[own.index] * sizeof(float)});
    const std::size_t first = n_received;
    n_received += heads.size() * n_scored[s];
    received.push_back({first * sizeof(float), n_received * sizeof(float)});
  }
  std::vector<float> scores(n_heads * n_scored[own.index]), came(n_received);
  std::vector<float> by_row(heads.size() * n_past_);
  for (std::size_t t = 0; t < q.rows(); ++t) {
    context_.pool.for_each(n_heads, [&](std::size_t head, std::size_t) {
      float* to = scores.data() + head * n_scored[own.index];
      for (std::size_t chunk = own.index; chunk < n_chunks; chunk += own.count) {
        cache_.score_rows(head, chunk, q.row(t).subspan(head * kHeadSize, kHeadSize),
                          {to, rows_in(chunk)});
        to += rows_in(chunk);
      }
    });
    if (own.count == 1) {
      std::swap(scores, came);
    } else {
      context_.exchange.all_to_all(Traffic::kEviction, std::as_bytes(std::span(scores)), sent,
                                   std::as_writable_bytes(std::span(came)), received);
    }
    context_.pool.for_each(heads.size(), [&](std::size_t head, std::size_t) {
      const std::span<float> all = std::span(by_row).subspan(head * n_past_, n_past_);
      for (std::size_t s = 0; s < own.count; ++s) {
        const float* from = came.data() + received[s].begin / sizeof(float) + head * n_scored[s];
        for (std::size_t chunk = s; chunk < n_chunks; chunk += own.count) {
          std::copy_n(from, rows_in(chunk),
                      all.begin() + static_cast<std::ptrdiff_t>(chunk * chunk_size));
          from += rows_in(chunk);
        }
      }
      kernels::add_softmax(all, votes_[head]);
    });
  }
}

std::vector<std::uint32_t> Eviction::choose_rows() const {
  const std::size_t n_rows = context_.attention.kv_min;
  std::vector<std::uint32_t> kept(context_.config.n_head * n_rows);
  const Range heads = context_.extents.heads;
  context_.pool.for_each(heads.size(), [&](std::size_t head, std::size_t) {
    const std::vector<float>& votes = votes_[head];
    std::vector<std::uint32_t> rows(n_past_);
    std::iota(rows.begin(), rows.end(), 0U);
    std::stable_sort(rows.begin(), rows.end(),
                     [&](std::uint32_t a, std::uint32_t b) { return votes[a] > votes[b]; });
    const auto to = kept.begin() + static_cast<std::ptrdiff_t>((heads.begin + head) * n_rows);
    std::copy_n(rows.begin(), n_kept_, to);
    std::iota(to + static_cast<std::ptrdiff_t>(n_kept_), to + static_cast<std::ptrdiff_t>(n_rows),
              static_cast<std::uint32_t>(n_past_));
  });
  std::vector<Range> parts;
  const partition::Shard own = context_.exchange.shard();
  for (std::size_t s = 0; s < own.count; ++s) {
    const Range of_shard = partition::heads_of(context_.config.n_head, {s, own.count});
    const std::size_t head_bytes = n_rows * sizeof(std::uint32_t);
    parts.push_back({of_shard.begin * head_bytes, of_shard.end * head_bytes});
  }
  context_.exchange.all_gather(Traffic::kEviction, std::as_writable_bytes(std::span(kept)), parts);
  return kept;
}

KvCache Eviction::kept_rows() const {
  const std::vector<std::uint32_t> kept = choose_rows();
  const std::size_t n_rows = context_.attention.kv_min, n_heads = context_.config.n_head;
  const partition::Shard own = context_.exchange.shard();
  KvCache result(n_heads, cache_.chunk_size(), cache_.format(), context_.exchange);
  const std::size_t width = n_heads * kHeadSize;
  Rows k(kRoundRows, width), v(kRoundRows, width);
  for (std::size_t begin = 0; begin < n_rows; begin += kRoundRows) {
    const std::size_t n = std::min(kRoundRows, n_rows - begin);
    const auto keys = k.first(n), values = v.first(n);
    // row(key, value, old row, head) for what shard `from` tells shard `to`, in order.
    const auto for_told = [&](std::size_t from, std::size_t to, auto&& row) {
      for (std::size_t i = 0; i < n; ++i) {
        if (result.owner_of_row(begin + i) != to) continue;
        for (std::size_t head = 0; head < n_heads; ++head) {
          const std::size_t old_row = kept[head * n_rows + begin + i];
          if (cache_.owner_of_row(old_row) != from) continue;
          row(keys.row(i).data() + head * kHeadSize, values.row(i).data() + head * kHeadSize,
              old_row, head);
        }
      }
    };
    std::vector<Range> sent(own.count), received(own.count);
    std::vector<float> going, came;
    std::size_t n_came = 0;
    for (std::size_t s = 0; s < own.count; ++s) {
      sent[s].begin = going.size() * sizeof(float);
      received[s].begin = n_came * sizeof(float);
      if (s == own.index) {
        for_told(s, s, [&](float* key, float* value, std::size_t old_row, std::size_t head) {
          cache_.copy_row(head, old_row, {key, kHeadSize}, {value, kHeadSize});
        });
      } else {
        for_told(own.index, s, [&](float*, float*, std::size_t old_row, std::size_t head) {
          going.resize(going.size() + 2 * kHeadSize);
          const auto both = std::span(going).last(2 * kHeadSize);
          cache_.copy_row(head, old_row, both.first(kHeadSize), both.last(kHeadSize));
        });
        for_told(s, own.index,
                 [&](float*, float*, std::size_t, std::size_t) { n_came += 2 * kHeadSize; });
      }
      sent[s].end = going.size() * sizeof(float);
      received[s].end = n_came * sizeof(float);
    }
    came.resize(n_came);
    context_.exchange.all_to_all(Traffic::kEviction, std::as_bytes(std::span(going)), sent,
                                 std::as_writable_bytes(std::span(came)), received);
    const float* next = came.data();
    for (std::size_t s = 0; s < own.count; ++s) {
      if (s == own.index) continue;
      for_told(s, own.index, [&](float* key, float* value, std::size_t, std::size_t) {
        std::copy_n(next, kHeadSize, key);
        std::copy_n(next + kHeadSize, kHeadSize, value);
        next += 2 * kHeadSize;
      });
    }
    result.append(keys, values, context_.pool);
  }
  return result;
}

}  // namespace longreach::model
