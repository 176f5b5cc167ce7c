/// Feeds bytes to the reader of contexts as a manifest, beside tokens and another context. Nothing
/// but InputError may come out; what is read ascends, and its folders begin with the first token.
#include "dist/context/context_directory.hpp"
#include "kernels/base/error.hpp"
#include "model/checkpoint/tensor_file.hpp"

#include <nlohmann/json.hpp>

#include <stdlib.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <span>
#include <string>

using namespace longreach;

namespace {

constexpr std::array<base::TokenId, 8> kTokens{1, 2, 3, 4, 5, 6, 7, 8};

/// The folder of the manifest, and "before", a context of the first tokens.
std::filesystem::path prepared_folder() {
  std::string pattern = std::filesystem::temp_directory_path() / "context_fuzz-XXXXXX";
  LR_CHECK(::mkdtemp(pattern.data()) != nullptr);
  const std::filesystem::path folder = pattern;
  for (const auto& directory : {folder / "before", folder / "own"}) {
    dist::ContextDirectory::open_to_write(directory, {{"model", "m"}}).add_state(kTokens);
  }
  return folder / "own";
}

/// The manifest with the checksum of what it says, if it is one at all.
std::string with_checksum(const std::string& manifest) {
  auto json = nlohmann::json::parse(manifest, nullptr, false);
  if (!json.is_object()) return manifest;
  json.erase("crc32");
  const std::string text = json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  json["crc32"] = model::crc32_of(std::as_bytes(std::span(text)));
  return json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

void open_context(const std::filesystem::path& own, const std::string& manifest) {
  std::ofstream(own / "manifest.json", std::ios::binary) << manifest;
  try {
    const auto context = dist::ContextDirectory::open(own);
    LR_CHECK(context.folders().front().n_before == 0 && context.folders().back().path == own);
    std::size_t last = 0;
    for (const dist::SavedState& state : context.states()) {
      LR_CHECK(state.n_tokens > last);
      last = state.n_tokens;
      LR_CHECK(!dist::folders_of(context.folders(), last).empty());
    }
    LR_CHECK(context.tokens().size() == last);
  } catch (const base::InputError&) {
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const std::filesystem::path own = prepared_folder();
  const std::string manifest(reinterpret_cast<const char*>(data), size);
  open_context(own, manifest);
  open_context(own, with_checksum(manifest));
  return 0;
}
