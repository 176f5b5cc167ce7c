#include "model/exchange.hpp"

#include "kernels/base/view.hpp"

namespace longreach::model {

std::string_view name_of(Traffic traffic) {
  switch (traffic) {
    case Traffic::kColumns:
      return "columns";
    case Traffic::kQueries:
      return "queries";
    case Traffic::kCandidates:
      return "candidates";
    case Traffic::kPartials:
      return "partials";
    case Traffic::kChunks:
      return "chunks";
    case Traffic::kMasses:
      return "masses";
    case Traffic::kEviction:
      return "eviction";
  }
  return "?";
}

std::shared_ptr<std::byte> Exchange::new_chunk(std::size_t owner, std::size_t n_bytes) {
  if (owner != shard().index) return nullptr;
  const auto memory = std::make_shared<base::Buffer<std::byte>>(n_bytes, base::Pages::kLarge);
  return {memory, memory->data()};
}

}  // namespace longreach::model
