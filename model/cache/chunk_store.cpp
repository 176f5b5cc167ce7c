#include "model/cache/chunk_store.hpp"

#include "kernels/base/view.hpp"

namespace longreach::model {

void Chunk::move_to(std::shared_ptr<MappedChunk> mapped) {
  memory.reset();
  file = std::move(mapped);
  // It is never written, as the chunk is closed.
  if (file) memory = {file, const_cast<std::byte*>(file->bytes().data())};
}

std::shared_ptr<std::byte> PrivateChunkStore::memory_for(std::size_t owner, std::size_t n_bytes) {
  if (owner != shard_) return nullptr;
  const auto memory = std::make_shared<base::Buffer<std::byte>>(n_bytes, base::Pages::kLarge);
  return {memory, memory->data()};
}

}  // namespace longreach::model
