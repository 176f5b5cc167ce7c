#include "model/schema/gguf_config.hpp"

#include "kernels/base/error.hpp"
#include "model/checkpoint/printable.hpp"
#include "model/schema/config_file.hpp"
#include "model/tokenizer/gguf_vocabulary.hpp"

#include <string>

namespace longreach::model {
namespace {

using base::input_error;

/// Refuses what contradicts the tensors, or what this program computes otherwise.
void expect_number(const GgufMetadata& metadata, std::string_view key, std::size_t expected) {
  const std::string full_key = "rwkv7." + std::string(key);
  const auto stated = metadata.whole_number(full_key);
  if (stated && *stated != expected) {
    input_error("{}: {} is {}, expected {}", metadata.file(), full_key, *stated, expected);
  }
}

}  // namespace

void require_rwkv7(const GgufMetadata& metadata) {
  const std::string& file = metadata.file();
  const auto type = metadata.text("general.type");
  if (type && *type != "model") {
    input_error("{}: general.type: expected a model, found '{}'", file, printable(*type));
  }
  const auto architecture = metadata.text("general.architecture");
  if (!architecture) input_error("{}: general.architecture is missing", file);
  if (*architecture != "rwkv7") {
    input_error("{}: general.architecture: expected rwkv7, found '{}'", file,
                printable(*architecture));
  }
  const auto n_parts = metadata.whole_number("split.count");
  if (n_parts && *n_parts > 1) {
    input_error("{}: split.count: is one of {} parts of a model, join them with llama-gguf-split",
                file, *n_parts);
  }
}

void read_gguf_config(const GgufMetadata& metadata, ModelConfig& config) {
  expect_number(metadata, "vocab_size", config.vocab_size);
  expect_number(metadata, "embedding_length", config.n_embd);
  expect_number(metadata, "block_count", config.n_rwkv);
  expect_number(metadata, "feed_forward_length", config.ffn_size);
  expect_number(metadata, "wkv.head_size", config.head_size);
  const LowRanks& ranks = config.low_ranks.back();
  expect_number(metadata, "attention.decay_lora_rank", ranks.w);
  expect_number(metadata, "attention.iclr_lora_rank", ranks.a);
  if (config.n_rwkv > 1) {  // the first block needs no residual
    expect_number(metadata, "attention.value_residual_mix_lora_rank", ranks.v);
  }
  expect_number(metadata, "attention.gate_lora_rank", ranks.g);
  expect_number(metadata, "token_shift_count", 2);  // before the time mix and the channel mix
  expect_number(metadata, "rescale_every_n_layers", 0);
  constexpr std::string_view kNormKey = "rwkv7.attention.layer_norm_epsilon";
  const auto epsilon = metadata.number(kNormKey);
  if (epsilon && static_cast<float>(*epsilon) != 1e-5F) {
    input_error("{}: {} is {}, expected 1e-05", metadata.file(), kNormKey, *epsilon);
  }
  constexpr std::string_view kEndKey = "tokenizer.ggml.eos_token_id";
  if (const auto end_token = metadata.whole_number(kEndKey)) {
    if (*end_token >= config.vocab_size) {
      input_error("{}: {} {} is outside the vocabulary of {}", metadata.file(), kEndKey, *end_token,
                  config.vocab_size);
    }
    config.end_token =
        stated_end_token(*end_token, metadata.whole_number("tokenizer.ggml.bos_token_id"));
  }
  if (has_world_vocabulary(metadata)) config.tokenizer = metadata.file();
}

}  // namespace longreach::model
