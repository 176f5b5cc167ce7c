/// How ranks agree on failures, for groups of any size, over any form of communicator. Each case
/// is called on all ranks of a group.
#pragma once

#include "dist/comm/agreement.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <functional>
#include <new>
#include <stdexcept>
#include <string>

namespace longreach::test {

/// The sentence all ranks agree on when those of the predicate fail with the text given for their
/// rank; empty when they agree that all went well.
inline std::string agreed(dist::Communicator& ranks, const std::function<bool(std::size_t)>& fails,
                          const std::function<std::string(std::size_t)>& text) {
  bool is_run = false;
  try {
    dist::agree(ranks, fmt::format("node{}", ranks.rank()), [&] {
      is_run = true;
      const std::string why = text(ranks.rank());
      if (!fails(ranks.rank())) return;
      if (why.empty()) throw std::bad_alloc();
      throw std::runtime_error(why);
    });
  } catch (const dist::AgreedError& error) {
    EXPECT_TRUE(is_run);
    return error.what();
  }
  EXPECT_TRUE(is_run);
  return "";
}

/// Needs more than one rank; one alone has nobody to agree with.
inline void ranks_agree(dist::Communicator& ranks) {
  const std::size_t n = ranks.size(), last = n - 1;
  const auto is_last = [last](std::size_t rank) { return rank == last; };
  const auto above = [](std::size_t least) {
    return [least](std::size_t rank) { return rank >= least; };
  };
  const auto own_text = [](std::size_t rank) { return fmt::format("f{}: cannot be opened", rank); };
  const auto one_text = [](std::size_t) { return "-n: expected a number, found 'x'"; };
  const auto no_memory = [](std::size_t) { return ""; };
  const auto never = [](std::size_t) { return false; };

  EXPECT_EQ(agreed(ranks, never, own_text), "");
  EXPECT_EQ(agreed(ranks, is_last, own_text),
            fmt::format("rank {} on node{}: f{}: cannot be opened", last, last, last));
  EXPECT_EQ(agreed(ranks, is_last, no_memory),
            fmt::format("rank {} on node{}: not enough memory", last, last));
  EXPECT_EQ(agreed(ranks, above(0), one_text), one_text(0));
  EXPECT_EQ(agreed(ranks, above(0), no_memory), "not enough memory");
  EXPECT_EQ(agreed(ranks, above(0), own_text),
            fmt::format("rank 0 on node0: f0: cannot be opened (and {} more rank{})", n - 1,
                        n == 2 ? "" : "s"));
  if (n > 2) {
    // Not all, so it is said who, though all say the same.
    EXPECT_EQ(agreed(ranks, above(1), one_text),
              fmt::format("rank 1 on node1: {} (and {} more rank{})", one_text(1), n - 2,
                          n == 3 ? "" : "s"));
  }
  // A failure leaves nothing behind that the next phase would trip over.
  EXPECT_EQ(agreed(ranks, never, own_text), "");
}

}  // namespace longreach::test
