/// Shards that are threads of this process, for tests of what a stage computes together without an
/// engine around it.
#pragma once

#include "model/exchange.hpp"
#include "tests/support/thread_ranks.hpp"

#include <cstddef>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

namespace longreach::test {

/// Chunks that all shards reach, in the order in which each of them allocates them.
struct CommonChunks {
  std::mutex mutex;
  std::vector<std::shared_ptr<std::byte>> memory;
};

/// A shard's view of chunks that all shards reach.
class CommonChunkStore final : public model::ChunkStore {
 public:
  explicit CommonChunkStore(CommonChunks& common) : common_(common) {}
  bool reaches_all() const override { return true; }

 private:
  std::shared_ptr<std::byte> memory_for(std::size_t, std::size_t n_bytes) override {
    const std::lock_guard lock(common_.mutex);
    if (n_taken_ == common_.memory.size()) {
      const auto chunk = std::make_shared<base::Buffer<std::byte>>(n_bytes);
      common_.memory.emplace_back(chunk, chunk->data());
    }
    return common_.memory[n_taken_++];
  }

  CommonChunks& common_;
  std::size_t n_taken_ = 0;
};

/// The exchange of one shard. The communicator, and the common chunks if there are any, must
/// outlive it.
class ThreadExchange final : public model::Exchange {
 public:
  explicit ThreadExchange(Communicator& shards, CommonChunks* common = nullptr) : shards_(shards) {
    if (common != nullptr) {
      chunks_ = std::make_unique<CommonChunkStore>(*common);
    } else {
      chunks_ = std::make_unique<model::PrivateChunkStore>(shards.rank(), shards.size());
    }
  }

  partition::Shard shard() const override { return {shards_.rank(), shards_.size()}; }
  void all_gather(model::Traffic, std::span<std::byte> all, std::span<const Range> parts) override {
    shards_.all_gather(all, parts);
  }
  void all_to_all(model::Traffic, std::span<const std::byte> sent,
                  std::span<const Range> sent_parts, std::span<std::byte> received,
                  std::span<const Range> received_parts) override {
    shards_.all_to_all(sent, sent_parts, received, received_parts);
  }
  void barrier() override { shards_.barrier(); }
  model::ChunkStore& chunk_store() override { return *chunks_; }

 private:
  Communicator& shards_;
  std::unique_ptr<model::ChunkStore> chunks_;
};

/// Calls body(exchange) on n_shards threads, as run_ranks does. With common chunks the shards reach
/// each other's.
inline void run_shards(std::size_t n_shards, CommonChunks* common,
                       const std::function<void(model::Exchange&)>& body) {
  run_ranks(n_shards, [&](Communicator& shards) {
    ThreadExchange exchange(shards, common);
    body(exchange);
  });
}

}  // namespace longreach::test
