#include "dist/trace/selection_meter.hpp"

#include "model/checkpoint/random_numbers.hpp"

namespace longreach::dist {
namespace {

constexpr std::uint64_t kKey = model::key_of("measured queries");

}  // namespace

void SelectionMeter::begin_call(const Order& slice) {
  position_ = slice.position;
  n_rows_ = slice.n_rows;
  ends_answering_ = slice.wanted.count() == 1 && slice.wanted.test(slice.n_rows - 1);
}

void SelectionMeter::begin_slice(std::size_t block, std::size_t first_row) {
  LR_CHECK(first_row == 0);
  block_ = block;
}

bool SelectionMeter::measures(std::size_t query) const {
  return answers(query) || model::random_bits(kKey, position_ + query) % one_in_ == 0;
}

void SelectionMeter::see_mass(std::size_t head, std::size_t query, model::MassShares shares) {
  if (shard_ != 0) return;
  samples_.push_back({.n_tokens = position_ + query + 1,
                      .block = static_cast<std::uint32_t>(block_),
                      .head = static_cast<std::uint32_t>(head),
                      .use = answers(query) ? QueryUse::kAnswering : QueryUse::kReading,
                      .shares = shares});
}

}  // namespace longreach::dist
