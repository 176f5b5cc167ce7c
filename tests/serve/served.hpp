/// A model with plain bytes as its vocabulary, for tests of requests and answers.
#pragma once

#include "model/tokenizer/tokenizer.hpp"
#include "serve/openai_request.hpp"

namespace longreach::serve {

inline const ServedModel& byte_model() {
  static const auto tokenizer = model::open_tokenizer(model::kBytesTokenizer);
  static const ServedModel served{"tiny", *tokenizer, 256, 0, 100, 8};
  return served;
}

}  // namespace longreach::serve
