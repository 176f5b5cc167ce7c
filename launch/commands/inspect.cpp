#include "launch/commands/inspect.hpp"

#include "kernels/base/error.hpp"
#include "kernels/base/json.hpp"
#include "launch/machine/machine.hpp"
#include "launch/open_model.hpp"
#include "launch/standard_streams.hpp"
#include "model/checkpoint/checkpoint.hpp"
#include "model/checkpoint/packed_metadata.hpp"
#include "model/checkpoint/printable.hpp"
#include "model/schema/config.hpp"
#include "model/schema/naming.hpp"
#include "model/schema/tensors.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace longreach::launch {
namespace {

using Json = nlohmann::ordered_json;

/// What tensors add up to.
struct Size {
  std::size_t n_parameters = 0;
  std::size_t n_bytes = 0;

  void add(const model::Tensor& tensor) {
    n_parameters += tensor.size();
    n_bytes += tensor.stored_bytes();
  }
};

/// A tensor under its name in the group.
struct Entry {
  std::string name;
  const model::Tensor* tensor;
};

/// Tensors that are used together: the input's, a block's, the output's, or those never used.
struct Group {
  std::string name;
  std::string kind;
  std::vector<Entry> entries = {};
  Size size = {};

  void add(std::string_view tensor_name, const model::Tensor& tensor) {
    entries.push_back({std::string(tensor_name), &tensor});
    size.add(tensor);
  }
};

/// A whole checkpoint in order of use.
struct Listing {
  std::string path;
  const model::Family* family;      ///< nullptr: of random weights.
  const model::PackedInfo* packed;  ///< nullptr: not packed.
  const model::Lora* lora;          ///< nullptr: none is merged.
  model::ModelConfig config;
  std::size_t n_tensors = 0;
  Size size;
  std::vector<Group> groups;
};

std::string_view kind_name(model::BlockKind kind) {
  return kind == model::BlockKind::kRwkv ? "rwkv" : "sparse";
}

/// "blocks.12" of "blocks.12.att.w0"; "" for the model's tensors outside blocks, whose names have
/// one dot.
std::string block_of(std::string_view tensor) {
  const std::size_t end = tensor.find('.', tensor.find('.') + 1);
  return end == tensor.npos ? "" : std::string(tensor.substr(0, end));
}

Listing list(const model::Checkpoint& checkpoint) {
  Listing listing{.path = checkpoint.path().string(),
                  .family = checkpoint.family(),
                  .packed = checkpoint.packed(),
                  .lora = checkpoint.lora(),
                  .config = model::read_config(checkpoint),
                  .n_tensors = checkpoint.tensors().size(),
                  .size = {},
                  .groups = {}};
  const std::vector<model::BlockRef> order = listing.config.execution_order();
  std::map<std::string, model::Use, std::less<>> uses;
  for (model::ListedTensor& tensor : model::list_tensors(listing.config)) {
    uses.emplace(std::move(tensor.name), tensor.use);
  }
  std::vector<Group>& groups = listing.groups;
  groups.push_back({"input", "embedding"});
  for (const model::BlockRef& block : order) {
    groups.push_back({block.name(), std::string(kind_name(block.kind))});
  }
  groups.push_back({"output", "head"});
  for (std::size_t i = 0; i < listing.config.n_rwkv; ++i) {
    const model::BlockRef block{model::BlockKind::kRwkv, i};
    if (std::ranges::find(order, block) == order.end()) {
      groups.push_back({block.name(), "never executed"});
    }
  }
  groups.push_back({"unknown", "never used"});
  const auto group = [&](std::string_view name) -> Group& {
    return *std::ranges::find(groups, name, &Group::name);
  };
  for (const auto& [name, tensor] : checkpoint.tensors()) {
    listing.size.add(tensor);
    const auto use = uses.find(name);
    if (use == uses.end()) {
      group("unknown").add(name, tensor);
    } else if (const std::string block = block_of(name); !block.empty()) {
      group(block).add(name.substr(block.size() + 1), tensor);
    } else {
      group(use->second == model::Use::kOutput ? "output" : "input").add(name, tensor);
    }
  }
  if (groups.back().entries.empty()) groups.pop_back();
  return listing;
}

/// "1,379,456".
std::string grouped(std::size_t number) {
  std::string digits = std::to_string(number);
  for (std::size_t at = digits.size(); at > 3; at -= 3) digits.insert(at - 3, 1, ',');
  return digits;
}

/// How the file stores its matrices.
std::string_view matrix_type(const Listing& listing) {
  return listing.packed != nullptr ? name_of(listing.packed->layout.format)
                                   : name_of(listing.config.dtype);
}

std::string as_text(const Listing& listing) {
  const model::ModelConfig& config = listing.config;
  std::string text = fmt::format("{}\n", listing.path);
  if (listing.family != nullptr) {
    text += fmt::format("family {} (names of {})\n", listing.family->name, listing.family->origin);
  }
  if (listing.packed != nullptr) {
    text += fmt::format("packed for the kernels, instruction sets: {}\n",
                        model::isa_of(listing.packed->layout));
  }
  if (const model::Lora* const lora = listing.lora) {
    text += fmt::format("with the LoRA {}, times {}, merged into {} matrices\n",
                        base::utf8_name(lora->paths.front().string()), lora->scale,
                        lora->products.size());
  }
  text += fmt::format("{} parameters in {} tensors, {}\n", grouped(listing.size.n_parameters),
                      listing.n_tensors, bytes_text(listing.size.n_bytes));
  text += fmt::format("vocabulary {}, {} channels in {} heads of {}, channel mix {}, matrices {}\n",
                      config.vocab_size, config.n_embd, config.n_head, config.head_size,
                      config.ffn_size, matrix_type(listing));
  text +=
      fmt::format("{} RWKV-7 blocks, {} sparse-attention blocks", config.n_rwkv, config.n_sparse);
  if (config.n_sparse > 0) {
    text += fmt::format(", chunks of {} tokens, top-k {}", config.attention.chunk_size,
                        config.attention.top_k);
  }
  text += fmt::format("; tokenizer {}, end token {}\n",
                      config.tokenizer.empty() ? "not named" : config.tokenizer, config.end_token);
  for (const Group& group : listing.groups) {
    text += fmt::format("\n{} ({}): {} parameters, {}\n", group.name, group.kind,
                        grouped(group.size.n_parameters), bytes_text(group.size.n_bytes));
    for (const Entry& entry : group.entries) {
      text += fmt::format("  {:<24} {:<4} {:<16} {:>13} bytes\n", model::printable(entry.name),
                          entry.tensor->type_name(), model::shape_text(entry.tensor->shape),
                          grouped(entry.tensor->stored_bytes()));
    }
  }
  return text;
}

Json as_json(const Group& group) {
  Json tensors = Json::array();
  for (const Entry& entry : group.entries) {
    tensors.push_back({{"name", entry.name},
                       {"dtype", entry.tensor->type_name()},
                       {"shape", entry.tensor->shape},
                       {"bytes", entry.tensor->stored_bytes()}});
  }
  return {{"name", group.name},
          {"kind", group.kind},
          {"parameters", group.size.n_parameters},
          {"bytes", group.size.n_bytes},
          {"tensors", std::move(tensors)}};
}

std::string as_json_text(const Listing& listing) {
  const model::ModelConfig& config = listing.config;
  Json json = {{"path", base::utf8_name(listing.path)},
               {"family", listing.family == nullptr ? "preset" : listing.family->name},
               {"packed", listing.packed != nullptr},
               {"parameters", listing.size.n_parameters},
               {"bytes", listing.size.n_bytes},
               {"tensors", listing.n_tensors},
               {"vocab_size", config.vocab_size},
               {"n_embd", config.n_embd},
               {"n_head", config.n_head},
               {"head_size", config.head_size},
               {"ffn_size", config.ffn_size},
               {"n_rwkv", config.n_rwkv},
               {"n_sparse", config.n_sparse},
               {"dtype", matrix_type(listing)},
               {"chunk_size", config.attention.chunk_size},
               {"top_k", config.attention.top_k},
               {"tokenizer", base::utf8_name(config.tokenizer)},
               {"end_token", config.end_token}};
  if (const model::Lora* const lora = listing.lora) {
    json["lora"] = {{"path", base::utf8_name(lora->paths.front().string())},
                    {"scale", lora->scale},
                    {"matrices", lora->products.size()}};
  }
  Json groups = Json::array();
  for (const Group& group : listing.groups) groups.push_back(as_json(group));
  json["groups"] = std::move(groups);
  return json.dump(2) + "\n";
}

}  // namespace

int run(const InspectOptions& options) {
  const model::Checkpoint checkpoint = open_checkpoint(options.model, options.lora);
  const Listing listing = list(checkpoint);
  write_output(options.format == ListingFormat::kJson ? as_json_text(listing) : as_text(listing));
  return 0;
}

}  // namespace longreach::launch
