#include "model/checkpoint/mapped_tensors.hpp"

#include "kernels/base/error.hpp"
#include "model/checkpoint/checkpoint.hpp"
#include "model/checkpoint/gguf_reader.hpp"
#include "model/checkpoint/pth_reader.hpp"

#include <utility>

namespace longreach::model {

MappedTensors::MappedTensors(const std::filesystem::path& path) : path_(path), file_(path) {
  if (is_gguf(file_.bytes())) {
    base::input_error("{}: expected a .pth, .safetensors or .st file, found GGUF", path.string());
  }
  TensorFile contents = read_tensor_file(file_.bytes(), path);
  for (const ChecksummedRange& range : contents.checksums) check_crc32(range);
  tensors_ = std::move(contents.tensors);
}

bool MappedTensors::is_torch() const { return is_torch_zip(file_.bytes()); }

}  // namespace longreach::model
