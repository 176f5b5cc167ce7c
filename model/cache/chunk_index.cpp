#include "model/cache/chunk_index.hpp"

#include "kernels/base/error.hpp"
#include "kernels/matmul/matrix.hpp"

#include <algorithm>
#include <array>
#include <cstring>

namespace longreach::model {
namespace {

using kernels::kHeadSize;

constexpr std::size_t kHeadNumbers = kHeadSize * ChunkIndex::kPieceChunks;

}  // namespace

static_assert(ChunkIndex::kPieceChunks == kernels::kPanelCols);

MeanKeyIndex::Piece MeanKeyIndex::new_piece() const {
  return std::make_shared<base::Buffer<float>>(n_head_ * kHeadNumbers);
}

std::unique_ptr<ChunkIndex> MeanKeyIndex::fork(std::size_t n_chunks) const {
  auto result = std::make_unique<MeanKeyIndex>(n_head_);
  result->pieces_ = pieces_;
  for (std::size_t i = n_chunks / kPieceChunks; i < pieces_.size(); ++i) {
    result->pieces_[i] = new_piece();
    std::ranges::copy(pieces_[i]->span(), result->pieces_[i]->data());
  }
  return result;
}

void MeanKeyIndex::reserve(std::size_t n_chunks) {
  while (pieces_.size() * kPieceChunks < n_chunks) pieces_.push_back(new_piece());
}

void MeanKeyIndex::close(std::size_t head, partition::LocalChunk chunk,
                         const kernels::ChunkRows& rows, std::size_t n_rows) {
  std::array<float, kHeadSize> sums;
  kernels::sum_keys(rows, n_rows, sums);
  float* const to = mean(head, chunk);
  for (std::size_t d = 0; d < kHeadSize; ++d) {
    to[d * kPieceChunks] = sums[d] / static_cast<float>(n_rows);
  }
}

float* MeanKeyIndex::mean(std::size_t head, partition::LocalChunk chunk) const {
  const auto number = partition::number_of(chunk);
  return pieces_[number / kPieceChunks]->data() + head * kHeadNumbers + number % kPieceChunks;
}

void MeanKeyIndex::save(partition::LocalChunk chunk, std::span<std::byte> entry) const {
  LR_CHECK(entry.size() == bytes_per_chunk());
  std::byte* to = entry.data();
  for (std::size_t head = 0; head < n_head_; ++head) {
    for (std::size_t d = 0; d < kHeadSize; ++d, to += sizeof(float)) {
      std::memcpy(to, mean(head, chunk) + d * kPieceChunks, sizeof(float));
    }
  }
}

void MeanKeyIndex::load(partition::LocalChunk chunk, std::span<const std::byte> entry) {
  LR_CHECK(entry.size() == bytes_per_chunk());
  const std::byte* from = entry.data();
  for (std::size_t head = 0; head < n_head_; ++head) {
    for (std::size_t d = 0; d < kHeadSize; ++d, from += sizeof(float)) {
      std::memcpy(mean(head, chunk) + d * kPieceChunks, from, sizeof(float));
    }
  }
}

void MeanKeyIndex::score(std::size_t head, std::size_t piece, base::MatView<const float> q,
                         base::MatView<float> scores) const {
  const float* const means = pieces_[piece]->data() + head * kHeadNumbers;
  kernels::panel_product(q, kernels::Panels<float>{means, kHeadNumbers, kPieceChunks}, scores,
                         kernels::Start::kZero);
}

std::size_t MeanKeyIndex::bytes_per_chunk() const { return n_head_ * kHeadSize * sizeof(float); }

std::size_t MeanKeyIndex::size_bytes() const {
  return pieces_.size() * kPieceChunks * bytes_per_chunk();
}

}  // namespace longreach::model
