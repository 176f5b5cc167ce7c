/// Hashes of all that a run computes, in a file for each rank. `scripts/first-difference` compares
/// two runs and says where they part. Meant for one sequence at a time.
#pragma once

#include "dist/engine/grid.hpp"
#include "kernels/base/output_file.hpp"
#include "model/observer.hpp"

#include <filesystem>
#include <mutex>
#include <string>

namespace longreach::dist {

/// FILE.<rank>.
std::filesystem::path fingerprint_file(std::filesystem::path file, std::size_t rank);

/// Writes that file. A line is: position, block, step, tensor, head or "-", chunk or "-", hash.
/// Steps count the tensors of a block in the order they are computed. What all shards have, the
/// first one writes.
class FingerprintFile final : public model::Observer {
 public:
  /// Errors: InputError naming the file.
  FingerprintFile(const std::filesystem::path& file, std::size_t rank, std::size_t shard);

  /// Completes the file. Errors: InputError, as of begin_block, for example for a full disk.
  void finish();

  void begin_step(const model::Step& step) override { step_ = &step; }
  void begin_block(std::size_t block) override;
  void see_rows(std::string_view tensor, base::MatView<const float> rows) override;
  void see_heads(std::string_view tensor, std::size_t first_head,
                 base::MatView<const float> columns) override;
  void see_choice(std::size_t head, std::size_t query,
                  std::span<const partition::GlobalChunk> chunks) override;
  void see_partial(std::size_t head, std::size_t query, partition::GlobalChunk chunk,
                   const kernels::Partial& partial) override;

 private:
  void write_lines();
  void add_line(std::size_t row, std::string_view tensor, std::string_view head,
                std::string_view chunk, std::span<const std::byte> bytes);

  base::OutputFile file_;
  std::mutex mutex_;
  std::string lines_;  ///< Of the block under way.
  std::size_t shard_;
  const model::Step* step_ = nullptr;
  std::size_t block_ = 0;
};

}  // namespace longreach::dist
