/// Who owns what inside a stage: index algebra from sizes and shard numbers alone.
///
/// Everything that is divided among n parts goes in contiguous ranges whose sizes differ by at most
/// one unit, the larger ones first; chunks of the cache go round. So shard 0 never owns less than
/// another one, nothing need be divisible, and a shard may own nothing.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace longreach::partition {

/// Indices begin .. end - 1.
struct Range {
  std::size_t begin = 0, end = 0;

  constexpr std::size_t size() const { return end - begin; }
  constexpr bool contains(std::size_t index) const { return index >= begin && index < end; }
  bool operator==(const Range&) const = default;
};

/// One of the ranks that share a stage.
struct Shard {
  std::size_t index = 0, count = 1;
};

/// Output columns are dealt in panels of this many, as the kernels keep weights.
inline constexpr std::size_t kPanelColumns = 32;

/// n filled up to whole panels.
constexpr std::size_t padded(std::size_t n) {
  return (n + kPanelColumns - 1) / kPanelColumns * kPanelColumns;
}

/// The part `index` of n units dealt to n_parts.
constexpr Range part_of(std::size_t n, std::size_t index, std::size_t n_parts) {
  const std::size_t least = n / n_parts, n_larger = n % n_parts;
  const std::size_t begin = index * least + std::min(index, n_larger);
  return {begin, begin + least + (index < n_larger ? 1 : 0)};
}

/// The part that holds `unit`; the inverse of part_of.
constexpr std::size_t part_holding(std::size_t unit, std::size_t n, std::size_t n_parts) {
  const std::size_t least = n / n_parts, n_larger = n % n_parts;
  const std::size_t in_larger = n_larger * (least + 1);
  if (unit < in_larger) return unit / (least + 1);
  return n_larger + (unit - in_larger) / least;
}

/// Heads that a shard computes and whose recurrent state it keeps.
constexpr Range heads_of(std::size_t n_head, Shard shard) {
  return part_of(n_head, shard.index, shard.count);
}

/// Output columns of a matrix (or the vocabulary's logits) that a shard computes.
constexpr Range columns_of(std::size_t n_columns, Shard shard) {
  const Range panels = part_of(padded(n_columns) / kPanelColumns, shard.index, shard.count);
  return {std::min(panels.begin * kPanelColumns, n_columns),
          std::min(panels.end * kPanelColumns, n_columns)};
}

/// A chunk's number over all shards. Ranges of chunks are of such numbers.
enum class GlobalChunk : std::uint32_t {};
/// A chunk's number among those that its shard keeps.
enum class LocalChunk : std::uint32_t {};

constexpr std::size_t number_of(GlobalChunk chunk) { return static_cast<std::size_t>(chunk); }
constexpr std::size_t number_of(LocalChunk chunk) { return static_cast<std::size_t>(chunk); }

/// The shard that keeps a chunk of the cache.
constexpr std::size_t owner_of_chunk(GlobalChunk chunk, std::size_t n_shards) {
  return number_of(chunk) % n_shards;
}

/// The number of a chunk on the shard that keeps it.
constexpr LocalChunk local_chunk(GlobalChunk chunk, std::size_t n_shards) {
  return LocalChunk(number_of(chunk) / n_shards);
}

/// The number over all shards of a chunk that a shard keeps.
constexpr GlobalChunk global_chunk(LocalChunk chunk, Shard shard) {
  return GlobalChunk(number_of(chunk) * shard.count + shard.index);
}

/// How many of the first n_chunks chunks a shard keeps.
constexpr std::size_t chunks_of(std::size_t n_chunks, Shard shard) {
  return (n_chunks + shard.count - 1 - shard.index) / shard.count;
}

/// How many of the first n_tokens rows of the cache a shard keeps.
constexpr std::size_t tokens_of(std::size_t n_tokens, std::size_t chunk_size, Shard shard) {
  const std::size_t n_closed = n_tokens / chunk_size;
  const bool has_open = owner_of_chunk(GlobalChunk(n_closed), shard.count) == shard.index;
  return chunks_of(n_closed, shard) * chunk_size + (has_open ? n_tokens % chunk_size : 0);
}

}  // namespace longreach::partition
