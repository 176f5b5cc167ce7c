/// Writes weights as kernels read them, in a file that is used where it is mapped. Used by
/// launch/commands/convert.
#pragma once

#include "kernels/base/output_file.hpp"
#include "kernels/threads/parallel.hpp"
#include "model/checkpoint/safetensors_writer.hpp"
#include "model/checkpoint/tensor_file.hpp"
#include "model/schema/config.hpp"

#include <string>

namespace longreach::model {

/// Writes a whole file (model/checkpoint/packed_metadata.hpp): the matrices of all blocks that are
/// executed in panels, one matrix in memory at a time, and all else as it is, blocks of few bits as
/// f32. `tensors` are those of a model with that config, which check_tensors() knows; `info` has
/// the layout in use. False if `after_piece` ended it. Errors: those of the file; std::bad_alloc.
bool write_packed(base::OutputFile& file, const TensorMap& tensors, const ModelConfig& config,
                  const PackedInfo& info, kernels::ThreadPool& pool, const AfterPiece& after_piece);

}  // namespace longreach::model
