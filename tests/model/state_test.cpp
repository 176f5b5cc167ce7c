#include "model/state.hpp"

#include "model/synthetic.hpp"

#include <gtest/gtest.h>

#include <algorithm>

namespace longreach::model {
namespace {

/// A small model's state after 150 random tokens, on one rank.
class StateTest : public ::testing::Test {
 protected:
  StateTest() { fill(state_, 150); }

  void fill(SequenceState& state, std::size_t n_tokens) {
    append_random_tokens(state, {{0, 6}, {}}, config_.n_head, n_tokens, 1, pool_, {});
  }

  ModelConfig config_ = read_config(Checkpoint::open("preset:rwkv-x-tiny"));
  NoExchange exchange_;
  kernels::ThreadPool pool_{1};
  SequenceState state_{config_, config_.attention, {0, 6}, exchange_};
};

/// All numbers of a state, the newest row of each cache included.
std::vector<float> numbers_of(const SequenceState& state) {
  std::vector<float> numbers;
  const auto append = [&]<typename Field>(const Field& field, const auto&) {
    if constexpr (std::is_same_v<Field, KvCache>) {
      numbers.push_back(static_cast<float>(field.size()));
      std::vector<float> row(2 * kernels::kHeadSize);
      const std::size_t last = field.size() - 1;
      kernels::read_row(field.rows(field.chunk_of_row(last), 1), last % field.chunk_size(),
                        std::span(row).first(kernels::kHeadSize),
                        std::span(row).last(kernels::kHeadSize));
      numbers.insert(numbers.end(), row.begin(), row.end());
    } else {
      numbers.insert(numbers.end(), field.data(), field.data() + field.size());
    }
  };
  for (const BlockState& block : state.blocks) {
    std::visit([&](const auto& fields) { visit_state(fields, append); }, block);
  }
  return numbers;
}

TEST_F(StateTest, IsZeroBeforeTheFirstToken) {
  const SequenceState fresh(config_, config_.attention, {0, 6}, exchange_);
  for (const BlockState& block : fresh.blocks) {
    const auto expect_empty = []<typename Field>(const Field& field, const auto& row) {
      if constexpr (std::is_same_v<Field, KvCache>) {
        EXPECT_EQ(field.size(), 0U);
      } else {
        EXPECT_TRUE(std::all_of(field.data(), field.data() + field.size(), [](float number) {
          return number == 0;
        })) << row.name;
      }
    };
    std::visit([&](const auto& fields) { visit_state(fields, expect_empty); }, block);
  }
}

TEST_F(StateTest, ForksAreEqualAndApart) {
  const std::vector<float> before = numbers_of(state_);
  EXPECT_LT(std::ranges::count(before, 0.0F), 10) << "nothing would differ from a new state";
  SequenceState fork = state_.fork();
  EXPECT_EQ(numbers_of(fork), before);
  for (BlockState& block : fork.blocks) {
    const auto change = []<typename Field>(Field& field, const auto&) {
      if constexpr (!std::is_same_v<Field, KvCache>) std::fill_n(field.data(), field.size(), 7.0F);
    };
    std::visit([&](auto& fields) { visit_state(fields, change); }, block);
  }
  fill(fork, 5);
  EXPECT_EQ(numbers_of(state_), before);
}

TEST_F(StateTest, HasTheBytesThatAreCounted) {
  std::size_t recurrent = 0;
  for (std::size_t i = 0; i < state_.blocks.size(); ++i) {
    std::size_t n_bytes = 0;
    const auto count = [&]<typename Field>(const Field& field, const auto& row) {
      if constexpr (!std::is_same_v<Field, KvCache>) {
        n_bytes += field.size() * sizeof(float);
        recurrent += (row.name == "wkv" ? 2 : 1) * field.size() * sizeof(float);
      }
    };
    std::visit([&](const auto& fields) { visit_state(fields, count); }, state_.blocks[i]);
    const BlockKind kind = config_.execution_order()[i].kind;
    EXPECT_EQ(state_bytes(config_, kind).of({}), n_bytes);
  }
  EXPECT_EQ(recurrent_bytes(config_), recurrent);
  // 2 heads, of which a shard of two keeps the matrix of one, and both shifts.
  EXPECT_EQ(state_bytes(config_, BlockKind::kRwkv).of({1, 2}), (64U * 64 + 2 * 128) * 4);
}

}  // namespace
}  // namespace longreach::model
