#include "model/schema/config_file.hpp"

#include "kernels/base/error.hpp"
#include "kernels/base/json.hpp"
#include "kernels/base/read_file.hpp"
#include "model/tokenizer/tokenizer.hpp"

#include <nlohmann/json.hpp>

#include <string>
#include <string_view>

namespace longreach::model {
namespace {

using nlohmann::json;

constexpr std::size_t kLargestSize = std::size_t{1} << 30;

/// The entries of one file.
class ConfigFile {
 public:
  explicit ConfigFile(const std::filesystem::path& path) : path_(path.string()) {
    constexpr std::size_t kMostBytes = std::size_t{1} << 20;
    object_ = base::parse_json(base::read_regular_file(path, kMostBytes), path_);
    if (!object_.is_object()) base::input_error("{}: expected a JSON object", path_);
  }

  const std::string& path() const { return path_; }

  /// The value at `key`; nullptr if there is none, or null.
  const json* find(const char* key) const {
    const auto found = object_.find(key);
    return found == object_.end() || found->is_null() ? nullptr : &*found;
  }

  /// The whole number at `key`, if there is one. Errors: InputError when it is something else or
  /// outside `least` to `most`.
  std::optional<std::size_t> number(const char* key, std::size_t least, std::size_t most) const {
    const json* const found = find(key);
    return found == nullptr ? std::nullopt : std::optional(number_of(*found, key, least, most));
  }

  /// Refuses a config.json that belongs to another model.
  void expect_size(const char* key, std::size_t expected) const {
    const auto stated = number(key, 0, kLargestSize);
    if (stated) expect_size(key, *stated, expected);
  }

  /// A size, or a list with the size of each block.
  void expect_sizes(const char* key, std::size_t expected) const {
    const json* const found = find(key);
    if (found == nullptr || !found->is_array()) return expect_size(key, expected);
    for (const json& size : *found) {
      expect_size(key, number_of(size, key, 0, kLargestSize), expected);
    }
  }

  /// Refuses what a model does otherwise than this program.
  void expect_value(const char* key, const json& expected, std::string_view meaning) const {
    const json* const found = find(key);
    if (found == nullptr || *found == expected) return;
    base::input_error("{}: {} is {}, expected {}: {}", path_, key, base::json_text(*found),
                      base::json_text(expected), meaning);
  }

 private:
  std::size_t number_of(const json& value, const char* key, std::size_t least,
                        std::size_t most) const {
    const auto number = base::whole_number(value);
    if (!number || *number < least || *number > most) {
      base::input_error("{}: {}: expected a whole number from {} to {}, found {}", path_, key,
                        least, most, base::json_text(value));
    }
    return *number;
  }

  void expect_size(const char* key, std::size_t stated, std::size_t expected) const {
    if (stated == expected) return;
    base::input_error("{}: {} is {}, but the checkpoint has {}", path_, key, stated, expected);
  }

  std::string path_;
  json object_;
};

void expect_sizes(const ConfigFile& file, const ModelConfig& config) {
  file.expect_size("vocab_size", config.vocab_size);
  for (const char* const key : {"n_embd", "hidden_size"}) file.expect_size(key, config.n_embd);
  for (const char* const key : {"head_size", "head_dim"}) file.expect_size(key, config.head_size);
  file.expect_sizes("value_dim", config.n_embd);
  for (const char* const key : {"n_rwkv_layer", "num_hidden_layers"}) {
    file.expect_size(key, config.n_rwkv);
  }
  file.expect_size("n_moba_layer", config.n_sparse);
  for (const char* const key : {"ffn_dim", "intermediate_size"}) {
    file.expect_size(key, config.ffn_size);
  }
  // The first block needs no residual.
  const LowRanks& ranks = config.low_ranks.back();
  file.expect_size("decay_low_rank_dim", ranks.w);
  file.expect_size("a_low_rank_dim", ranks.a);
  if (config.n_rwkv > 1) file.expect_size("v_low_rank_dim", ranks.v);
  file.expect_size("gate_low_rank_dim", ranks.g);
}

/// What these models compute, where a configuration of transformers or fla may ask for other
/// things.
void expect_mathematics(const ConfigFile& file) {
  for (const char* const key : {"norm_eps", "layer_norm_epsilon", "layer_norm_eps"}) {
    file.expect_value(key, 1e-5, "norms add this number");
  }
  file.expect_value("attn", nullptr, "layers of attention among those of RWKV-7 are not computed");
  file.expect_value("norm_first", true, "a norm follows the embedding");
  file.expect_value("norm_bias", true, "norms have a bias");
  file.expect_value("tie_word_embeddings", false, "the head is a matrix of its own");
  file.expect_value("hidden_act", "sqrelu", "the channel mix squares max(0, x)");
  file.expect_value("use_deep_embed", false, "DeepEmbed is not computed");
  file.expect_value("wkv_has_gate", true, "a time mix without a gate is not computed");
  file.expect_value("quantization_config", nullptr,
                    "of weights of few bits, only those of GGUF files are read");
}

/// How config.json in that folder names a tokenizer.
std::string tokenizer_entry(const std::string& tokenizer, const std::filesystem::path& folder) {
  if (tokenizer == kBytesTokenizer) return tokenizer;
  const auto path = std::filesystem::absolute(tokenizer).lexically_normal();
  const bool is_beside = path.parent_path() == std::filesystem::absolute(folder).lexically_normal();
  const std::string entry = is_beside ? path.filename().string() : path.string();
  if (base::utf8_name(entry) != entry) {
    base::input_error("{}: config.json cannot name this vocabulary, whose name is not UTF-8",
                      base::utf8_name(entry));
  }
  return entry;
}

}  // namespace

base::TokenId stated_end_token(std::size_t end_token, std::optional<std::size_t> begin_token) {
  if (end_token == 2 && begin_token == 1) return 0;
  return static_cast<base::TokenId>(end_token);
}

void read_config_file(const std::filesystem::path& path, ModelConfig& config) {
  const ConfigFile file(path);
  expect_sizes(file, config);
  expect_mathematics(file);
  AttentionConfig& attention = config.attention;
  attention.chunk_size =
      file.number("moba_chunk_size", 1, kLargestSize).value_or(attention.chunk_size);
  attention.top_k = file.number("moba_topk", 1, kLargestSize).value_or(attention.top_k);
  if (const auto end_token = file.number("eos_token_id", 0, kLargestSize)) {
    if (*end_token >= config.vocab_size) {
      base::input_error("{}: eos_token_id {} is outside the vocabulary of {}", file.path(),
                        *end_token, config.vocab_size);
    }
    config.end_token = stated_end_token(*end_token, file.number("bos_token_id", 0, kLargestSize));
  }
  if (const json* const tokenizer = file.find("tokenizer")) {
    if (!tokenizer->is_string()) base::input_error("{}: tokenizer: expected a string", file.path());
    config.tokenizer = tokenizer->get<std::string>();
    if (config.tokenizer.find('\0') != std::string::npos) {
      base::input_error("{}: tokenizer: expected a name without zero bytes", file.path());
    }
    if (config.tokenizer != kBytesTokenizer) {
      config.tokenizer = (path.parent_path() / config.tokenizer).string();
    }
  }
}

std::string config_file_text(const ModelConfig& config, const std::filesystem::path& folder) {
  nlohmann::ordered_json object = {
      {"vocab_size", config.vocab_size}, {"n_embd", config.n_embd},
      {"head_size", config.head_size},   {"n_rwkv_layer", config.n_rwkv},
      {"n_moba_layer", config.n_sparse}, {"ffn_dim", config.ffn_size},
      {"eos_token_id", config.end_token}};
  if (config.n_sparse > 0) {
    object["moba_chunk_size"] = config.attention.chunk_size;
    object["moba_topk"] = config.attention.top_k;
  }
  if (!config.tokenizer.empty()) object["tokenizer"] = tokenizer_entry(config.tokenizer, folder);
  return object.dump(2) + "\n";
}

}  // namespace longreach::model
