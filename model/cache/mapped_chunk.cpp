#include "model/cache/mapped_chunk.hpp"

#include "kernels/base/error.hpp"
#include "model/checkpoint/tensor_file.hpp"

#include <algorithm>
#include <atomic>
#include <utility>

namespace longreach::model {

MappedChunk::MappedChunk(std::shared_ptr<const MappedFile> file, std::span<const std::byte> bytes,
                         std::span<const std::uint32_t> checksums, std::string file_name,
                         partition::Range tokens, std::function<void()> on_damage)
    : file_(std::move(file)),
      bytes_(bytes),
      file_name_(std::move(file_name)),
      tokens_(tokens),
      on_damage_(std::move(on_damage)) {
  LR_CHECK(!checksums.empty() && bytes.size() % checksums.size() == 0);
  for (const std::uint32_t checksum : checksums) heads_.push_back({checksum});
}

bool MappedChunk::is_whole(std::size_t head) const {
  return crc32_of(this->head(head), {}) == heads_[head].checksum;
}

void MappedChunk::refuse(std::size_t head) const {
  if (on_damage_) on_damage_();
  base::input_error("{}: damaged: head {} of tokens {} to {} does not match its checksum",
                    file_name_, head, tokens_.begin, tokens_.end - 1);
}

void MappedChunk::verify() const {
  for (std::size_t head = 0; head < heads_.size(); ++head) {
    if (!is_whole(head)) refuse(head);
  }
}

void MappedHeads::hold(std::span<const MappedHead> heads, kernels::ThreadPool& pool) {
  ++n_steps_;
  std::vector<MappedHead> wanted;  // those that are not held yet, each once
  for (const MappedHead& each : heads) {
    MappedChunk::Head& head = each.chunk->heads_[each.head];
    head.last_used = n_steps_;
    if (std::exchange(head.is_held, true)) continue;
    wanted.push_back(each);
    // The disk is asked for all of them before the first is waited for.
    if (!head.is_verified) advise(each.chunk->head(each.head), Expected::kSoon);
  }
  std::atomic<const MappedHead*> damaged = nullptr;
  pool.for_each(wanted.size(), [&](std::size_t i, std::size_t) {
    const MappedHead& each = wanted[i];
    MappedChunk::Head& head = each.chunk->heads_[each.head];
    advise(each.chunk->head(each.head), Expected::kNow);
    if (!head.is_verified && !each.chunk->is_whole(each.head)) damaged = &each;
    head.is_verified = true;
  });
  if (const MappedHead* const each = damaged) each->chunk->refuse(each->head);
  for (MappedHead& each : wanted) {
    held_bytes_ += each.chunk->head(each.head).size();
    held_.push_back({each.chunk, each.head});
  }
  if (most_bytes_ && held_bytes_ > *most_bytes_) let_go();
}

void MappedHeads::let_go() {
  std::vector<std::pair<std::uint64_t, MappedHead>> by_use;
  held_bytes_ = 0;
  for (const Held& each : held_) {
    if (auto chunk = each.chunk.lock()) {
      held_bytes_ += chunk->head(each.head).size();
      const std::uint64_t last_used = chunk->heads_[each.head].last_used;
      by_use.push_back({last_used, {std::move(chunk), each.head}});
    }
  }
  std::ranges::stable_sort(by_use, {}, [](const auto& each) { return each.first; });
  held_.clear();
  // Some more than must be, so that not every step has to look.
  const std::size_t enough = *most_bytes_ - *most_bytes_ / 8;
  for (auto& [last_used, each] : by_use) {
    if (held_bytes_ > enough && last_used < n_steps_) {
      each.chunk->heads_[each.head].is_held = false;
      advise(each.chunk->head(each.head), Expected::kLater);
      held_bytes_ -= each.chunk->head(each.head).size();
    } else {
      held_.push_back({each.chunk, each.head});
    }
  }
}

}  // namespace longreach::model
