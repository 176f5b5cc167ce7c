#include "launch/commands/tokenize.hpp"

#include "kernels/base/read_file.hpp"
#include "launch/open_model.hpp"
#include "launch/standard_streams.hpp"
#include "launch/token_file.hpp"
#include "model/tokenizer/tokenizer.hpp"

#include <fmt/format.h>

#include <memory>

namespace longreach::launch {
namespace {

std::unique_ptr<model::Tokenizer> open_tokenizer(const TokenizeOptions& options) {
  if (options.model.empty()) return model::open_tokenizer(options.tokenizer);
  const model::Checkpoint checkpoint = model::Checkpoint::open(options.model);
  return open_tokenizer_of(checkpoint, model::read_config(checkpoint), "");
}

std::string read(const TokenizeOptions& options) {
  if (options.text) return *options.text;
  return options.file ? base::read_file(*options.file) : read_input();
}

}  // namespace

int run(const TokenizeOptions& options) {
  const auto tokenizer = open_tokenizer(options);
  const std::string input = read(options);
  if (options.direction == TokenizeDirection::kEncode) {
    write_output(fmt::format("{}\n", fmt::join(tokenizer->encode(input), " ")));
  } else {
    const std::string name = options.file ? options.file->string() : "standard input";
    write_output(tokenizer->decode(parse_tokens(input, name)));
  }
  return 0;
}

}  // namespace longreach::launch
