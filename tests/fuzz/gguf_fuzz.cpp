/// Any bytes as a GGUF file: they are refused with an InputError, or its tensors lie inside it and
/// its vocabulary, if it has one, gives back what it encodes.
#include "kernels/base/error.hpp"
#include "model/checkpoint/gguf_reader.hpp"
#include "model/schema/naming.hpp"
#include "model/tokenizer/world_tokenizer.hpp"
#include "tests/fuzz/touch_tensors.hpp"

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

namespace {

using namespace longreach;

void try_tensors(std::span<const std::byte> file) {
  try {
    model::TensorMap tensors = model::read_gguf(file, "fuzz.gguf").contents.tensors;
    test::touch_tensors(tensors);
    const model::Family& family = model::family_of(tensors, "fuzz.gguf");
    test::touch_tensors(model::native_tensors(std::move(tensors), family, "fuzz.gguf"));
  } catch (const base::InputError&) {
  }
}

void try_vocabulary(std::span<const std::byte> file) {
  try {
    const auto tokenizer =
        model::WorldTokenizer::from_gguf(model::read_gguf_metadata(file, "fuzz.gguf"));
    const std::string_view text(reinterpret_cast<const char*>(file.data()), file.size());
    LR_CHECK(tokenizer.decode(tokenizer.encode(text)) == text);
  } catch (const base::InputError&) {
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto file = std::as_bytes(std::span(data, size));
  try_tensors(file);
  try_vocabulary(file);
  return 0;
}
