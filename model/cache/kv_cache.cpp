#include "model/cache/kv_cache.hpp"

#include <algorithm>
#include <array>
#include <utility>

namespace longreach::model {

using kernels::kHeadSize;

KvCache::KvCache(std::size_t n_head, std::size_t chunk_size, base::KvFormat format,
                 Exchange& exchange, std::unique_ptr<ChunkIndex> index)
    : exchange_(&exchange),
      shard_(exchange.shard()),
      n_head_(n_head),
      chunk_size_(chunk_size),
      layout_(format, chunk_size),
      index_(index ? std::move(index) : std::make_unique<MeanKeyIndex>(n_head)) {
  LR_CHECK(n_head >= 1 && chunk_size >= 1);
}

Chunk KvCache::new_chunk(GlobalChunk chunk) const {
  return exchange_->chunk_store().allocate(partition::owner_of_chunk(chunk, shard_.count),
                                           chunk_bytes());
}

void KvCache::reserve(std::size_t n_rows) {
  while (chunks_.size() * chunk_size_ < n_rows) {
    chunks_.push_back(new_chunk(GlobalChunk(chunks_.size())));
  }
  index_->reserve(own_chunks(chunks_.size()));
}

KvCache KvCache::fork() const {
  KvCache result(n_head_, chunk_size_, format(), *exchange_,
                 index_->fork(own_chunks(closed_chunks())));
  result.n_rows_ = n_rows_;
  result.has_files_ = has_files_;
  result.chunks_ = chunks_;
  if (const std::size_t open = closed_chunks(); open < chunks_.size()) {
    result.chunks_[open] = new_chunk(GlobalChunk(open));
    if (keeps(GlobalChunk(open))) {
      std::copy_n(chunks_[open].memory.get(), chunk_bytes(), result.chunks_[open].memory.get());
    }
  }
  return result;
}

void KvCache::restore(std::size_t n_rows, const FileOf& file_of) {
  LR_CHECK(chunks_.empty());
  for (std::size_t chunk = 0; chunk < n_rows / chunk_size_; ++chunk) {
    chunks_.push_back(exchange_->chunk_store().adopt(file_of(GlobalChunk(chunk))));
    has_files_ = true;
  }
  reserve(n_rows);
  n_rows_ = n_rows;
}

void KvCache::move_to_files(partition::Range chunks, const FileOf& file_of) {
  LR_CHECK(chunks.end <= closed_chunks());
  for (std::size_t chunk = chunks.begin; chunk < chunks.end; ++chunk) {
    chunks_[chunk].move_to(file_of(GlobalChunk(chunk)));
    has_files_ = true;
  }
}

std::span<std::byte> KvCache::open_memory() {
  const auto open = GlobalChunk(closed_chunks());
  if (number_of(open) >= chunks_.size() || !keeps(open)) return {};
  return {chunks_[number_of(open)].memory.get(), chunk_bytes()};
}

void KvCache::put_head(std::size_t head, base::MatView<const float> k,
                       base::MatView<const float> v) {
  for (std::size_t t = 0; t < k.rows(); ++t) {
    const std::size_t row = n_rows_ + t;
    const GlobalChunk chunk = chunk_of_row(row);
    if (!keeps(chunk)) continue;
    layout_.put(chunks_[number_of(chunk)].memory.get() + head * layout_.size_bytes(),
                row % chunk_size_, k.row(t).subspan(head * kHeadSize, kHeadSize),
                v.row(t).subspan(head * kHeadSize, kHeadSize));
    if ((row + 1) % chunk_size_ == 0) {
      index_->close(head, partition::local_chunk(chunk, shard_.count), rows(chunk, head),
                    chunk_size_);
    }
  }
}

void KvCache::advance(std::size_t n) {
  const std::size_t first = closed_chunks();
  n_rows_ += n;
  for (std::size_t chunk = first; chunk < closed_chunks(); ++chunk) {
    if (keeps(GlobalChunk(chunk))) {
      exchange_->chunk_store().publish(chunks_[chunk]);
    }
  }
}

void KvCache::append(base::MatView<const float> k, base::MatView<const float> v,
                     kernels::ThreadPool& pool) {
  append_segments(std::array{SegmentCache{this, 0, k.rows()}}, k, v, pool);
}

kernels::ChunkRows KvCache::rows(GlobalChunk chunk, std::size_t head) const {
  const Chunk& kept = chunks_[number_of(chunk)];
  LR_DCHECK(kept.memory);
  return layout_.rows(kept.memory.get() + head * layout_.size_bytes());
}

std::size_t KvCache::size_bytes() const {
  return own_chunks(chunks_.size()) * chunk_bytes() + index_->size_bytes();
}

void append_segments(std::span<const SegmentCache> segments, base::MatView<const float> k,
                     base::MatView<const float> v, kernels::ThreadPool& pool) {
  for (const SegmentCache& segment : segments) {
    segment.cache->reserve(segment.cache->size() + segment.n_rows);
  }
  const std::size_t n_heads = k.cols() / kHeadSize;
  const auto put = [&](std::size_t task) {
    const SegmentCache& segment = segments[task / n_heads];
    segment.cache->put_head(task % n_heads, k.rows(segment.first_row, segment.n_rows),
                            v.rows(segment.first_row, segment.n_rows));
  };
  const std::size_t n_tasks = segments.size() * n_heads;
  if (k.rows() == 1 && (segments[0].cache->size() + 1) % segments[0].cache->chunk_size() != 0) {
    // One row that closes no chunk is sooner written than divided between threads.
    for (std::size_t task = 0; task < n_tasks; ++task) put(task);
  } else {
    pool.for_each(n_tasks, [&](std::size_t task, std::size_t) { put(task); });
  }
  for (const SegmentCache& segment : segments) segment.cache->advance(segment.n_rows);
}

}  // namespace longreach::model
