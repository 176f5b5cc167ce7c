/// Collects what the choice of chunks misses, on one rank.
#pragma once

#include "model/observer.hpp"

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace longreach::dist {

/// What a measured query was for.
enum class QueryUse : std::uint32_t {
  kReading,    ///< Drawn from all that are read.
  kAnswering,  ///< Its logits are the only ones wanted of a segment that it ends: a token is
               ///< chosen.
};

/// What one head's query sees of full attention (model/cache/selection_mass.hpp). Sent as it lies.
struct MassSample {
  std::uint64_t n_tokens = 0;  ///< Of the sequence, up to the query's own.
  std::uint32_t block = 0;     ///< Of the model, in execution order.
  std::uint32_t head = 0;
  QueryUse use = QueryUse::kReading;
  model::MassShares shares;
  bool operator==(const MassSample&) const = default;
};

/// Measures all queries that answer, and of the others those whose positions are drawn: one in
/// `one_in`, always the same ones, at no regular distance, as chunks and texts have periods.
class SelectionMeter final : public model::Observer {
 public:
  /// Only the first shard collects; all of them must measure.
  SelectionMeter(std::size_t one_in, std::size_t shard) : one_in_(one_in), shard_(shard) {}

  void begin_step(const model::Step& step) override { step_ = &step; }
  void begin_block(std::size_t block) override { block_ = block; }
  bool measures(std::size_t query) const override;
  void see_mass(std::size_t head, std::size_t query, model::MassShares shares) override;

  std::span<const MassSample> samples() const { return samples_; }

 private:
  bool answers(std::size_t query) const;

  std::size_t one_in_, shard_;
  const model::Step* step_ = nullptr;
  std::size_t block_ = 0;
  std::vector<MassSample> samples_;
};

}  // namespace longreach::dist
