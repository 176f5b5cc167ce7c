#include "model/cache/chunk_attention.hpp"

namespace longreach::model {

using base::MatView;
using kernels::kHeadSize;

ChunkAttention::ChunkAttention(Context& context, MatView<const float> q)
    : context_(context), q_(q) {
  context.workspace.totals.assign(own_heads().size() * q.rows(), {});
}

QueryGroups ChunkAttention::largest_groups() const {
  constexpr std::size_t kTasksPerThread = 4;  // so that the last ones end at about the same time
  const std::size_t n_threads = context_.pool.size(), n_heads = own_heads().size();
  const std::size_t n_wanted =
      n_threads == 1 ? 1 : (kTasksPerThread * n_threads + n_heads - 1) / n_heads;
  return {n_queries(), std::max((n_queries() + n_wanted - 1) / n_wanted, kGroupQueries)};
}

void ChunkAttention::finish(MatView<float> y) {
  context_.pool.for_each(own_heads().size(), [&](std::size_t i, std::size_t) {
    const std::size_t head = own_heads().begin + i;
    for (std::size_t t = 0; t < n_queries(); ++t) {
      kernels::finish(total(head, t), y.row(t).subspan(head * kHeadSize, kHeadSize));
    }
  });
}

}  // namespace longreach::model
