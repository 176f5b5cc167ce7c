#include "dist/context/chunk_file.hpp"

#include "kernels/base/error.hpp"
#include "kernels/base/json.hpp"
#include "model/checkpoint/tensor_file.hpp"

#include <algorithm>
#include <cstring>

namespace longreach::dist {
namespace {

std::span<const std::byte> bytes_of(const std::uint32_t& number) {
  return std::as_bytes(std::span(&number, 1));
}

}  // namespace

ChunkFileLayout::ChunkFileLayout(const model::KvCache& cache, std::size_t n_heads)
    : n_head(n_heads),
      head_bytes(cache.chunk_bytes() / n_heads),
      entry_bytes(cache.index().bytes_per_chunk()),
      chunk_tokens(cache.chunk_size()) {}

std::size_t ChunkFileLayout::chunk_begin(std::size_t chunk) const {
  return chunk * ((chunk_bytes() + model::kPageBytes - 1) / model::kPageBytes * model::kPageBytes);
}

ChunkRecord::ChunkRecord(const ChunkFileLayout& layout)
    : n_head_(layout.n_head), entry_bytes_(layout.entry_bytes), bytes_(layout.record_bytes()) {}

std::span<std::byte> ChunkRecord::entry() {
  return all().subspan(n_head_ * sizeof(std::uint32_t), entry_bytes_);
}

std::vector<std::uint32_t> ChunkRecord::head_checksums() const {
  std::vector<std::uint32_t> sums(n_head_);
  std::memcpy(sums.data(), bytes_.data(), n_head_ * sizeof(std::uint32_t));
  return sums;
}

void ChunkRecord::seal(std::span<const std::byte> chunk, std::uint32_t mark) {
  const std::size_t head_bytes = chunk.size() / n_head_;
  for (std::size_t head = 0; head < n_head_; ++head) {
    const std::uint32_t sum = model::crc32_of(chunk.subspan(head * head_bytes, head_bytes));
    std::ranges::copy(bytes_of(sum), all().subspan(head * sizeof(sum)).begin());
  }
  const std::uint32_t sum = model::crc32_of(sealed()) ^ mark;
  std::ranges::copy(bytes_of(sum), all().last(sizeof(sum)).begin());
}

bool ChunkRecord::is_whole(std::uint32_t mark) const {
  const std::uint32_t sum = model::crc32_of(sealed()) ^ mark;
  return std::ranges::equal(bytes_of(sum), all().last(sizeof(sum)));
}

ChunkFile::ChunkFile(const ContextFolder& folder, const std::string& block,
                     const ChunkFileLayout& layout)
    : layout_(layout),
      context_id_(folder.id),
      block_(block),
      chunks_path_(folder.path / "cache" / block),
      records_path_(folder.path / "cache" / (block + ".index")) {}

void ChunkFile::open(File::Mode mode) {
  if (!chunks_) chunks_.emplace(chunks_path_, mode);
  if (!records_) records_.emplace(records_path_, mode);
}

void ChunkFile::write(GlobalChunk chunk, std::span<const std::byte> memory, ChunkRecord& record) {
  record.seal(memory, mark(chunk));
  open(File::Mode::kWrite);
  chunks_->write_at(layout_.chunk_begin(number_of(chunk)), memory);
  records_->write_at(number_of(chunk) * layout_.record_bytes(), record.all());
}

void ChunkFile::sync() {
  if (chunks_) chunks_->sync();
  if (records_) records_->sync();
}

void ChunkFile::map(partition::Range chunks) {
  const std::size_t begin = layout_.chunk_begin(chunks.begin);
  const std::size_t end = layout_.chunk_begin(chunks.end - 1) + layout_.chunk_bytes();
  first_mapped_ = chunks.begin;
  mapping_ = std::make_shared<model::MappedFile>(chunks_path_, begin, end - begin);
  mapping_->expect(model::Access::kScattered);
}

ChunkRecord ChunkFile::record(GlobalChunk chunk) {
  if (!records_) records_.emplace(records_path_, File::Mode::kRead);
  ChunkRecord record(layout_);
  records_->read_at(number_of(chunk) * layout_.record_bytes(), record.all());
  if (!record.is_whole(mark(chunk))) {
    base::input_error("{}: damaged: what is known of chunk {} does not match its checksum",
                      base::utf8_name(records_path_.string()), number_of(chunk));
  }
  return record;
}

std::shared_ptr<model::MappedChunk> ChunkFile::mapped(GlobalChunk chunk,
                                                      const ChunkRecord& record) const {
  const std::size_t number = number_of(chunk);
  const auto bytes = mapping_->bytes().subspan(
      layout_.chunk_begin(number) - layout_.chunk_begin(first_mapped_), layout_.chunk_bytes());
  return std::make_shared<model::MappedChunk>(
      mapping_, bytes, record.head_checksums(), base::utf8_name(chunks_path_.string()),
      partition::Range{number * layout_.chunk_tokens, (number + 1) * layout_.chunk_tokens},
      [context = chunks_path_.parent_path().parent_path()] { mark_damaged(context); });
}

}  // namespace longreach::dist
