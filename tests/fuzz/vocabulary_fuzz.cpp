/// Any bytes as a World vocabulary: they are refused with an InputError, or they make a tokenizer
/// that gives back what it encodes.
#include "kernels/base/error.hpp"
#include "model/tokenizer/world_tokenizer.hpp"

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace model = longreach::model;
namespace base = longreach::base;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  try {
    const auto tokenizer = model::WorldTokenizer::parse(text, "fuzz");
    const auto ids = tokenizer.encode(text);  // may hold bytes that no token covers
    LR_CHECK(tokenizer.decode(ids) == text);
    for (const base::TokenId id : ids) LR_CHECK(!tokenizer.bytes(id).empty());
  } catch (const base::InputError&) {
  }
  return 0;
}
