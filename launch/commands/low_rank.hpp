/// `longreach convert --low-rank`: the matrices of a model as factors, dealt to the ranks of a job,
/// and what is said of them.
#pragma once

#include "dist/comm/world.hpp"
#include "launch/signals.hpp"
#include "model/checkpoint/checkpoint.hpp"
#include "model/low_rank.hpp"
#include "model/schema/config.hpp"

#include <optional>
#include <string>
#include <vector>

namespace longreach::launch {

/// A matrix and what it became.
struct FactoredLayer {
  model::ListedTensor listed;
  base::DType dtype;  ///< In which it is kept whole, and so are its factors.
  model::LowRankFactors factors;
};

/// Those of a model, in the order of execution.
struct LowRankModel {
  std::vector<FactoredLayer> layers;
  std::string core_type;  ///< Of OpenBLAS.

  /// Puts the factors in the place of matrices, in tensors and config of the model. The tensors
  /// point into this.
  void replace(model::TensorMap& tensors, model::ModelConfig& config) const;
  /// That of the matrix whose factor has this name; nothing for other tensors.
  std::optional<base::DType> dtype_of(std::string_view factor) const;
  /// A line for each matrix: the rank it needs, its bytes in a file with it and in one with the
  /// factors, all numbers as `dtype` if it is given, and |W - B A| / |W| before factors are rounded
  /// to that.
  std::string table(std::optional<base::DType> dtype) const;
};

/// The factors of all linear layers that keep this share of the squared singular values: on the
/// leader, elsewhere layers without numbers. The ranks take the matrices in turn, by one thread
/// each. In memory is one matrix a rank (kernels/decomposition/singular_values.hpp), and on the
/// leader all factors as f32. Nothing if a signal ended it. Collective. Errors: AgreedError.
std::optional<LowRankModel> low_rank_model(const model::Checkpoint& checkpoint,
                                           const model::ModelConfig& config, double energy,
                                           const StopSignals& signals, dist::World& world);

}  // namespace longreach::launch
