/// What travels through the pipeline: steps, and control messages between them. All ranks handle
/// them in the order the leader sends them.
#pragma once

#include "kernels/base/types.hpp"
#include "model/step.hpp"

#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <variant>

namespace longreach::dist {

/// A step. Its segments follow, then its tokens on the first stage, on the others the rows of the
/// residual stream and of the first block's values.
struct StepHeader {
  std::uint32_t n_segments = 0;
  std::uint32_t n_rows = 0;
  model::RowSet wanted;   ///< The rows whose logits go to the leader.
  model::RowSet weighed;  ///< Of these, the rows whose evidence goes there, too.
};

/// Begin a session.
struct OpenSession {
  std::uint32_t session;
  std::uint32_t initial_state;  ///< See Engine::new_session.
};
/// Begin a session as a copy of another.
struct ForkSession {
  std::uint32_t session, source;
};
/// Forget a session.
struct CloseSession {
  std::uint32_t session;
};
/// Make up the state that so many more tokens leave.
struct FillSession {
  std::uint32_t session;
  std::uint64_t n_tokens, seed;
};
/// Begin to save what a session has read to a context.
struct SaveSession {
  std::uint32_t session;
  std::uint32_t context;
  std::uint64_t n_tokens;
  std::uint64_t n_written;  ///< Tokens of the newest state that all ranks have written.
};
/// Wait until what was begun is written.
struct FinishSaving {};
/// The leader names the folders of another context to all.
struct AddContext {};
/// Forget a context.
struct DropContext {
  std::uint32_t context;
};
/// Begin a session that has read what a state of a context was saved after.
struct RestoreSession {
  std::uint32_t session;
  std::uint32_t context;
  std::uint64_t n_tokens;
};
/// Read so much memory, all ranks at once.
struct ReadMemory {
  std::uint64_t n_bytes;
};
/// Measure what the choice of chunks misses, for one query in so many, from now on.
struct MeasureSelection {
  std::uint64_t one_in;
};
/// Send the leader what was measured so.
struct CollectMasses {};
/// Send the leader what was used so far.
struct CollectUsage {};
/// Send the leader what was done when.
struct CollectTrace {};
/// Wait until the leader wakes you (dist/engine/rest.hpp).
struct Sleep {};
/// Leave.
struct Stop {};

/// Sent as it lies in memory: all ranks run the same program.
using EngineMessage =
    std::variant<StepHeader, OpenSession, ForkSession, CloseSession, FillSession, SaveSession,
                 FinishSaving, AddContext, DropContext, RestoreSession, ReadMemory,
                 MeasureSelection, CollectMasses, CollectUsage, CollectTrace, Sleep, Stop>;
static_assert(std::is_trivially_copyable_v<EngineMessage>);
static_assert(std::is_trivially_copyable_v<model::Segment>);

/// Calls the one of several functions that takes what a message is.
template <typename... Handlers>
struct Overloaded : Handlers... {
  using Handlers::operator()...;
};
template <typename... Handlers>
Overloaded(Handlers...) -> Overloaded<Handlers...>;

}  // namespace longreach::dist
