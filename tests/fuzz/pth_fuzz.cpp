/// Feeds bytes to the `.pth` reader in two ways: as a whole archive, and as the pickle of an
/// archive whose checksums are left out, because no fuzzer guesses checksums. Nothing but
/// InputError may come out.
#include "kernels/base/error.hpp"
#include "model/checkpoint/pth_reader.hpp"
#include "tests/fuzz/touch_tensors.hpp"
#include "tests/support/zip_writer.hpp"

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace {

using namespace longreach;

void read(std::span<const std::byte> archive) {
  try {
    const model::TensorFile file = model::read_pth(archive, "fuzz.pth");
    test::touch_tensors(file.tensors);
    for (const auto& range : file.checksums) model::check_crc32(range);
  } catch (const base::InputError&) {
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::span bytes(data, size);
  read(std::as_bytes(bytes));

  const std::string pickle(bytes.begin(), bytes.end());
  const std::string archive = test::zip_of({{.name = "m/data.pkl", .data = pickle, .crc32 = 0},
                                            {.name = "m/data/0", .data = std::string(24, '\1')},
                                            {.name = "m/data/1", .data = std::string(8, '\2')}});
  read(test::bytes_of(archive));
  return 0;
}
