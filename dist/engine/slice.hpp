/// What travels through the pipeline: slices of calls, and orders about sessions between them.
#pragma once

#include "kernels/base/types.hpp"
#include "model/context.hpp"

#include <array>
#include <bitset>
#include <cstddef>
#include <cstdint>

namespace longreach::dist {

/// What the ranks are told to do. Orders are carried out in the order they are given.
enum class Command : std::uint32_t {
  kOpen,        ///< Begin a session.
  kFork,        ///< Begin a session as a copy of another.
  kClose,       ///< Forget a session.
  kRead,        ///< Read a slice.
  kFill,        ///< Make up the state that so many tokens leave.
  kReadMemory,  ///< Read so many bytes, all ranks at once.
  kReport,      ///< Tell the leader what was used.
  kMeasure,     ///< Measure what the choice of chunks misses, from now on.
  kMasses,      ///< Tell the leader what came of that.
  kTrace,       ///< Tell the leader what was done when.
  kStop,        ///< Leave.
};

/// Whether an order is about one session, and not about the engine.
constexpr bool is_about_session(Command command) { return command <= Command::kFill; }

/// An order, and what is to be known of a slice. Sent as it lies in memory.
struct Order {
  Command command = Command::kStop;
  std::uint32_t session = 0;
  std::uint32_t source = 0;      ///< The session to copy.
  std::uint32_t n_rows = 0;      ///< Tokens of the slice, at most model::kSliceTokens.
  std::uint64_t call_first = 0;  ///< The slice's first token, counted from its call's.
  std::uint64_t position = 0;    ///< Of the call's first token.
  std::uint64_t call_rows = 0;   ///< Tokens of the call.
  std::uint64_t amount = 0;  ///< Tokens to fill in, bytes to read, or measure one query in so many.
  std::uint64_t seed = 0;    ///< Of what is filled in.
  std::bitset<model::kSliceTokens> wanted;  ///< The tokens whose logits go to the leader.
};

/// An order as the first stage gets it.
struct FirstOrder {
  Order order;
  std::array<base::TokenId, model::kSliceTokens> tokens = {};
};

}  // namespace longreach::dist
