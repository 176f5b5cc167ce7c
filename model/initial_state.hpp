/// What sequences begin from in place of zeros: a matrix for each head of the RWKV blocks, as
/// "state tuning" trains it. The token shifts begin from zeros all the same.
#pragma once

#include "model/schema/config.hpp"
#include "model/state.hpp"
#include "model/weights.hpp"

#include <cstddef>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace longreach::model {

/// Which channels the rows and the columns of a file's matrices are. They are square, so that no
/// shape says it.
enum class StateAxes {
  kKeyValue,  ///< As RwkvState has them, and web-rwkv's files.
  kValueKey,  ///< As files that torch's training scripts write.
};

/// As on the command line: "key-value" or "value-key".
std::string_view name_of(StateAxes axes);

/// Holds its numbers in memory, so that the file may change.
class InitialState {
 public:
  /// Zeros.
  InitialState() = default;
  /// That of a file of tensors `blocks.N.att.time_state`, (heads, 64, 64) in any dtype, for all
  /// executed RWKV blocks. The axes are by default value-key in a .pth file and key-value in the
  /// others. Errors: InputError naming file and tensor, for one that is missing, has another shape
  /// or that the model does not use, and for numbers that are not finite.
  InitialState(const std::filesystem::path& path, std::optional<StateAxes> axes,
               const ModelConfig& config);

  /// Of the file; empty for zeros.
  const std::filesystem::path& path() const { return path_; }
  /// A hash of its numbers, the same whatever file has them; "none" for zeros.
  const std::string& fingerprint() const { return fingerprint_; }

  /// Makes the state of a sequence that has read nothing begin from this one. `part` is what the
  /// state is of, n_head the heads of the whole model.
  void copy_to(SequenceState& state, const Part& part, std::size_t n_head) const;

 private:
  std::filesystem::path path_;
  /// [heads][64 key channels][64 value channels], by place in the execution order.
  std::map<std::size_t, std::vector<float>> matrices_;
  std::string fingerprint_ = "none";
};

}  // namespace longreach::model
