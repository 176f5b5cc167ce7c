/// Looks on while a forward pass computes, to find where two runs part that should not.
#pragma once

#include "kernels/attention.hpp"
#include "kernels/base/view.hpp"

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace longreach::model {

/// Told what blocks compute, tensor by tensor. Rows and queries are counted from the slice's first.
class Probe {
 public:
  Probe() = default;
  Probe(const Probe&) = delete;
  Probe& operator=(const Probe&) = delete;
  virtual ~Probe() = default;

  /// What follows is of this block of the model (in execution order), and its first row is this one
  /// of the call.
  virtual void begin_slice(std::size_t block, std::size_t first_row) = 0;
  /// A tensor that all shards have, [T, columns].
  virtual void see_rows(std::string_view tensor, base::MatView<const float> rows) = 0;
  /// The own heads' columns of a tensor, [T, own heads * 64].
  virtual void see_heads(std::string_view tensor, std::size_t first_head,
                         base::MatView<const float> columns) = 0;
  /// The closed chunks that a head's query has chosen; on all shards.
  virtual void see_choice(std::size_t head, std::size_t query,
                          std::span<const std::uint32_t> chunks) = 0;
  /// What a head's query has found in a chunk, on the head's shard. May be called by several
  /// threads at a time.
  virtual void see_partial(std::size_t head, std::size_t query, std::size_t chunk,
                           const kernels::Partial& partial) = 0;
};

}  // namespace longreach::model
