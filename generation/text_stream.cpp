#include "generation/text_stream.hpp"

#include "kernels/base/error.hpp"
#include "kernels/base/utf8.hpp"

#include <algorithm>
#include <utility>

namespace longreach::generation {
namespace {

constexpr std::string_view kReplacement = "\xef\xbf\xbd";  // U+FFFD

}  // namespace

TextStream::Stop::Stop(std::string stop_text) : text(std::move(stop_text)) {
  fallback.assign(text.size(), 0);
  for (std::size_t i = 1; i < text.size(); ++i) {
    std::size_t n = fallback[i - 1];
    while (n > 0 && text[n] != text[i]) n = fallback[n - 1];
    fallback[i] = text[n] == text[i] ? n + 1 : 0;
  }
}

void TextStream::Stop::advance(char byte) {
  while (matched_bytes > 0 && text[matched_bytes] != byte) {
    matched_bytes = fallback[matched_bytes - 1];
  }
  if (text[matched_bytes] == byte) ++matched_bytes;
}

TextStream::TextStream(std::vector<std::string> stop_strings) {
  for (std::string& text : stop_strings) {
    if (text.empty()) base::input_error("--stop: expected a string that is not empty");
    stops_.emplace_back(std::move(text));
  }
}

void TextStream::take(char byte) {
  held_ += byte;
  std::size_t n_held = 0;
  std::size_t n_stop = 0;
  for (Stop& stop : stops_) {
    stop.advance(byte);
    n_held = std::max(n_held, stop.matched_bytes);
    if (stop.matched_bytes == stop.text.size()) n_stop = std::max(n_stop, stop.text.size());
  }
  stopped_ = n_stop > 0;
  const std::size_t n_certain = held_.size() - (stopped_ ? n_stop : n_held);
  undecoded_.append(held_, 0, n_certain);
  held_.erase(0, n_certain);
}

std::string TextStream::decode() {
  std::string text;
  std::string_view rest = undecoded_;
  while (!rest.empty()) {
    const base::Utf8Front front = base::utf8_front(rest);
    if (front.kind == base::Utf8Kind::kIncomplete) break;
    text +=
        front.kind == base::Utf8Kind::kCharacter ? rest.substr(0, front.size_bytes) : kReplacement;
    rest.remove_prefix(front.size_bytes);
  }
  undecoded_.erase(0, undecoded_.size() - rest.size());
  return text;
}

std::string TextStream::push(std::string_view bytes) {
  if (stopped_) return {};
  for (const char byte : bytes) {
    take(byte);
    if (stopped_) return flush();
  }
  return decode();
}

std::string TextStream::flush() {
  if (!stopped_) undecoded_ += held_;
  held_.clear();
  for (Stop& stop : stops_) stop.matched_bytes = 0;
  std::string text = decode();
  if (!undecoded_.empty())
    text += kReplacement;  // what decode() leaves is one incomplete character
  undecoded_.clear();
  return text;
}

}  // namespace longreach::generation
