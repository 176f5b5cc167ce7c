#include "eval/scoring.hpp"

#include "kernels/base/utf8.hpp"

#include <unicase.h>
#include <unictype.h>
#include <unistr.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace longreach::eval {
namespace {

constexpr char32_t kReplacement = 0xfffd;

/// Calls visit(code point, its bytes) for each character; bytes that are no UTF-8 count as U+FFFD.
template <typename Visit>
void for_characters(std::string_view text, Visit&& visit) {
  while (!text.empty()) {
    const base::Utf8Front front = base::utf8_front(text);
    const std::string_view bytes = text.substr(0, front.size_bytes);
    ucs4_t code_point = kReplacement;
    if (front.kind == base::Utf8Kind::kCharacter) {
      u8_mbtouc(&code_point, reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size());
    }
    visit(code_point, bytes);
    text.remove_prefix(front.size_bytes);
  }
}

/// As str.isspace(): beside what Unicode calls white space, the four ASCII separators.
bool is_blank(ucs4_t code_point) {
  return uc_is_property_white_space(code_point) || (code_point >= 0x1c && code_point <= 0x1f);
}

/// Whether letter i is the last of a word, as str.lower() sees it: skipping what stands in words
/// without being a letter, one stands before it and none after.
bool ends_word(std::u32string_view letters, std::size_t i) {
  // libunistring does not count the apostrophe among these, Unicode does.
  const auto is_ignorable = [](char32_t c) {
    return c == U'\'' || uc_is_property_case_ignorable(c);
  };
  const std::u32string_view after = letters.substr(i + 1);
  const auto next = std::ranges::find_if_not(after, is_ignorable);
  if (next != after.end() && uc_is_property_cased(*next)) return false;
  while (i > 0 && is_ignorable(letters[i - 1])) --i;
  return i > 0 && uc_is_property_cased(letters[i - 1]);
}

/// What RULER scores of an answer (scripts/eval/evaluate.py, postprocess_pred): without blanks
/// around it, and with line feeds for control characters.
std::string printable_answer(std::string_view answer) {
  std::string text(stripped(answer));
  std::ranges::replace_if(
      text, [](char c) { return c >= 0 && c < ' '; }, '\n');
  return std::string(stripped(text));
}

}  // namespace

std::string_view stripped(std::string_view text) {
  const char* first = nullptr;
  const char* end = nullptr;
  for_characters(text, [&](ucs4_t code_point, std::string_view bytes) {
    if (is_blank(code_point)) return;
    if (first == nullptr) first = bytes.data();
    end = bytes.data() + bytes.size();
  });
  return {first, end};
}

std::string lowered(std::string_view text) {
  constexpr char32_t kDottedI = 0x130, kDotAbove = 0x307;
  constexpr char32_t kSigma = 0x3a3, kSmallSigma = 0x3c3, kFinalSigma = 0x3c2;
  std::u32string letters;
  for_characters(text, [&](ucs4_t code_point, std::string_view) { letters += code_point; });
  std::string result;
  for (std::size_t i = 0; i < letters.size(); ++i) {
    if (letters[i] == kDottedI) {
      result += 'i';
      base::append_utf8(result, kDotAbove);
    } else if (letters[i] == kSigma) {
      base::append_utf8(result, ends_word(letters, i) ? kFinalSigma : kSmallSigma);
    } else {
      base::append_utf8(result, uc_tolower(letters[i]));
    }
  }
  return result;
}

double score(Match match, std::string_view answer, std::span<const std::string> expected) {
  if (expected.empty()) return 0;
  if (match == Match::kExact) {
    const std::string_view text = stripped(answer);
    return std::ranges::any_of(expected, [&](const auto& e) { return stripped(e) == text; }) ? 1
                                                                                             : 0;
  }
  const std::string text = lowered(printable_answer(answer));
  const auto n_held = std::ranges::count_if(expected, [&](const std::string& reference) {
    return text.find(lowered(reference)) != std::string::npos;
  });
  if (match == Match::kAny) return n_held > 0 ? 1 : 0;
  return static_cast<double>(n_held) / static_cast<double>(expected.size());
}

}  // namespace longreach::eval
