/// Feeds bytes to the `.safetensors` reader as a whole file, and as the header of a file whose
/// lengths are right. Nothing but InputError may come out.
#include "kernels/base/error.hpp"
#include "model/checkpoint/safetensors_reader.hpp"
#include "tests/fuzz/touch_tensors.hpp"
#include "tests/support/bytes.hpp"

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace {

using namespace longreach;

void read(std::span<const std::byte> file) {
  try {
    test::touch_tensors(model::read_safetensors(file, "fuzz.safetensors").tensors);
  } catch (const base::InputError&) {
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::span bytes(data, size);
  read(std::as_bytes(bytes));

  const std::string header(bytes.begin(), bytes.end());
  const std::string file =
      test::little_endian(std::uint64_t{size}) + header + std::string(24, '\1');
  read(test::bytes_of(file));
  return 0;
}
