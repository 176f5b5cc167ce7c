/// Feeds bytes to the readers of the OpenAI interface. Nothing but ApiError may come out; what is
/// accepted stays within the limits, and its sampler's options are valid.
#include "kernels/base/error.hpp"
#include "serve/openai_request.hpp"

#include <cstddef>
#include <cstdint>
#include <string_view>

using namespace longreach;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const auto tokenizer = model::open_tokenizer(model::kBytesTokenizer);
  static const serve::ServedModel served{"tiny", *tokenizer, 256, 0, 1000, 8};
  const std::string body(data, data + size);
  for (const auto endpoint : {serve::Endpoint::kCompletions, serve::Endpoint::kChat}) {
    try {
      const auto request = serve::read_completion(endpoint, body, served, 1);
      LR_CHECK(request.n_texts() > 0 && request.n_texts() <= served.max_texts);
      for (const generation::Request& each : serve::requests_of(request)) {
        LR_CHECK(!each.prompt.empty());
        LR_CHECK(each.prompt.size() + each.n_new <= served.context_tokens);
        generation::validate(each.sampler);
      }
    } catch (const serve::ApiError&) {
    }
  }
  try {
    serve::read_tokenize(body, served);
  } catch (const serve::ApiError&) {
  }
  try {
    serve::read_detokenize(body, served);
  } catch (const serve::ApiError&) {
  }
  return 0;
}
