#include "launch/commands/low_rank.hpp"

#include "dist/comm/gather_values.hpp"
#include "kernels/decomposition/singular_values.hpp"
#include "launch/machine/machine.hpp"
#include "launch/progress.hpp"
#include "model/schema/tensors.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <span>
#include <utility>

namespace longreach::launch {
namespace {

/// What travels of factors beside their numbers.
struct FactorsHeader {
  std::size_t rank, n_first;
  double error;
};

/// Large ones first, so that the ranks have matrices of about one size at a time.
std::vector<std::size_t> by_size(const std::vector<FactoredLayer>& layers) {
  std::vector<std::size_t> order(layers.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::ranges::stable_sort(order, std::greater(), [&](std::size_t i) {
    return layers[i].listed.shape[0] * layers[i].listed.shape[1];
  });
  return order;
}

/// Every rank's factors, by rank, on the leader. Collective.
std::vector<model::LowRankFactors> gather_factors(dist::Communicator& ranks,
                                                  const model::LowRankFactors& own) {
  std::vector<float> numbers = own.first;
  numbers.insert(numbers.end(), own.second.begin(), own.second.end());
  const auto headers =
      dist::gather_values(ranks, FactorsHeader{own.rank, own.first.size(), own.error});
  const auto lists = dist::gather_lists(ranks, std::span<const float>(numbers));
  std::vector<model::LowRankFactors> all;
  for (std::size_t r = 0; r < lists.size(); ++r) {
    const auto second = lists[r].begin() + static_cast<std::ptrdiff_t>(headers[r].n_first);
    all.push_back(
        {headers[r].rank, headers[r].error, {lists[r].begin(), second}, {second, lists[r].end()}});
  }
  return all;
}

model::Tensor tensor_of(const std::vector<float>& numbers, std::vector<std::size_t> shape) {
  model::Tensor tensor;
  tensor.strides = model::contiguous_strides(shape);
  tensor.shape = std::move(shape);
  tensor.data = reinterpret_cast<const std::byte*>(numbers.data());
  return tensor;
}

}  // namespace

void LowRankModel::replace(model::TensorMap& tensors, model::ModelConfig& config) const {
  for (const auto& [listed, dtype, factors] : layers) {
    if (!factors.saves()) continue;
    tensors.erase(listed.name);
    tensors.emplace(model::factor_name(listed.name, model::Factor::kFirst),
                    tensor_of(factors.first, {factors.rank, listed.shape[1]}));
    tensors.emplace(model::factor_name(listed.name, model::Factor::kSecond),
                    tensor_of(factors.second, {listed.shape[0], factors.rank}));
    config.factor_ranks.emplace(listed.name, factors.rank);
  }
}

std::optional<base::DType> LowRankModel::dtype_of(std::string_view factor) const {
  for (const FactoredLayer& layer : layers) {
    for (const auto which : {model::Factor::kFirst, model::Factor::kSecond}) {
      if (model::factor_name(layer.listed.name, which) == factor) return layer.dtype;
    }
  }
  return std::nullopt;
}

std::string LowRankModel::table(std::optional<base::DType> dtype) const {
  std::string text = fmt::format("{:<36}{:>14}{:>7}{:>12}{:>12}{:>9}\n", "matrix", "shape", "rank",
                                 "before", "after", "error");
  std::size_t n_replaced = 0;
  for (const auto& [listed, own_dtype, factors] : layers) {
    const std::size_t width = base::size_of(dtype.value_or(own_dtype));
    text += fmt::format("{:<36}{:>14}{:>7}{:>12}", listed.name,
                        fmt::format("{} x {}", listed.shape[0], listed.shape[1]), factors.rank,
                        bytes_text(listed.shape[0] * listed.shape[1] * width));
    if (!factors.saves()) {
      text += fmt::format("{:>12}\n", "whole");
      continue;
    }
    ++n_replaced;
    const std::size_t n_numbers = factors.first.size() + factors.second.size();
    text += fmt::format("{:>12}{:>9.4f}\n", bytes_text(n_numbers * width), factors.error);
  }
  return text + fmt::format("{} of {} matrices as factors, by OpenBLAS for {}\n", n_replaced,
                            layers.size(), core_type);
}

std::optional<LowRankModel> low_rank_model(const model::Checkpoint& checkpoint,
                                           const model::ModelConfig& config, double energy,
                                           const StopSignals& signals, dist::World& world) {
  const auto lapack = world.agree([] { return kernels::Lapack(); });
  LowRankModel result{{}, lapack.core_type()};
  for (model::ListedTensor& listed : model::list_linear_layers(config)) {
    const base::DType dtype = checkpoint.get(listed.name).dtype;
    result.layers.push_back({std::move(listed), dtype, {}});
  }
  const std::vector<std::size_t> order = by_size(result.layers);
  StatusLine line(PlainLines::kNone);
  for (std::size_t first = 0; first < order.size(); first += world.size()) {
    if (exit_code_anywhere(signals, world) != 0) return std::nullopt;
    if (world.leads_job()) {
      line.update([&] { return fmt::format("factors of {} of {} matrices", first, order.size()); });
    }
    const model::LowRankFactors own = world.agree([&] {
      if (first + world.rank() >= order.size()) return model::LowRankFactors();
      const model::ListedTensor& listed = result.layers[order[first + world.rank()]].listed;
      return model::low_rank_factors(
          checkpoint.get(listed.name),
          fmt::format("{}: tensor {}", checkpoint.path().string(), listed.name), energy, lapack);
    });
    checkpoint.release_pages();
    std::vector<model::LowRankFactors> all = gather_factors(world.communicator(), own);
    for (std::size_t r = 0; r < all.size() && first + r < order.size(); ++r) {
      result.layers[order[first + r]].factors = std::move(all[r]);
    }
  }
  if (exit_code_anywhere(signals, world) != 0) return std::nullopt;
  return result;
}

}  // namespace longreach::launch
