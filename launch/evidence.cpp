#include "launch/evidence.hpp"

#include "kernels/base/error.hpp"
#include "kernels/base/json.hpp"
#include "kernels/base/utf8.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace longreach::launch {
namespace {

/// Of a passage's text, in a line for people.
constexpr std::size_t kMostBytes = 240;

/// The characters that begin within the first kMostBytes.
std::string cut(std::string text) {
  std::size_t n = 0;
  while (n < text.size() && n < kMostBytes) {
    n += base::utf8_front(std::string_view(text).substr(n)).size_bytes;
  }
  return n < text.size() ? text.substr(0, n) + "..." : text;
}

std::string quoted(const std::string& text) {
  return nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace

void require_sparse_blocks(std::string_view option, const OpenedModel& opened) {
  if (opened.config.n_sparse > 0) return;
  base::input_error("{}: {} has no sparse blocks", option,
                    base::utf8_name(opened.checkpoint.path().string()));
}

std::string evidence_text(std::span<const generation::Passage> passages,
                          std::span<const base::TokenId> tokens,
                          const model::Tokenizer& tokenizer) {
  if (passages.empty()) return "evidence: none\n";
  std::string lines;
  for (const generation::Passage& passage : passages) {
    lines +=
        fmt::format("evidence: tokens {} to {}, {:.1f} %: {}\n", passage.first, passage.end() - 1,
                    100 * passage.weight, quoted(cut(text_of(passage, tokens, tokenizer))));
  }
  return lines;
}

std::string evidence_lines(std::span<const generation::Passage> passages,
                           std::span<const base::TokenId> tokens,
                           const model::Tokenizer& tokenizer) {
  std::string lines;
  for (const generation::Passage& passage : passages) {
    lines += generation::json_of(passage, tokens, tokenizer) + '\n';
  }
  return lines;
}

}  // namespace longreach::launch
