#include "dist/trace/selection_meter.hpp"

#include "model/checkpoint/random_numbers.hpp"

namespace longreach::dist {
namespace {

constexpr std::uint64_t kKey = model::key_of("measured queries");

}  // namespace

bool SelectionMeter::answers(std::size_t query) const {
  const std::size_t segment = step_->segment_of(query), first = step_->first_row(segment);
  const std::size_t last = first + step_->segments()[segment].n_rows - 1;
  if (query != last || !step_->wanted().test(last)) return false;
  for (std::size_t row = first; row < last; ++row) {
    if (step_->wanted().test(row)) return false;
  }
  return true;
}

bool SelectionMeter::measures(std::size_t query) const {
  return answers(query) || model::random_bits(kKey, step_->position_of(query)) % one_in_ == 0;
}

void SelectionMeter::see_mass(std::size_t head, std::size_t query, model::MassShares shares) {
  if (shard_ != 0) return;
  samples_.push_back({.n_tokens = step_->position_of(query) + 1,
                      .block = static_cast<std::uint32_t>(block_),
                      .head = static_cast<std::uint32_t>(head),
                      .use = answers(query) ? QueryUse::kAnswering : QueryUse::kReading,
                      .shares = shares});
}

}  // namespace longreach::dist
