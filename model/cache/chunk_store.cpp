#include "model/cache/chunk_store.hpp"

#include "kernels/base/view.hpp"

namespace longreach::model {

std::shared_ptr<std::byte> PrivateChunkStore::memory_for(std::size_t owner, std::size_t n_bytes) {
  if (owner != shard_) return nullptr;
  const auto memory = std::make_shared<base::Buffer<std::byte>>(n_bytes, base::Pages::kLarge);
  return {memory, memory->data()};
}

}  // namespace longreach::model
