#include "model/tokenizer/world_vocabulary.hpp"

#include "kernels/base/error.hpp"
#include "kernels/base/utf8.hpp"

#include <algorithm>
#include <charconv>
#include <iterator>
#include <optional>
#include <utility>

namespace longreach::model {
namespace {

/// The number that `digits` is, or nothing if it is anything but decimal digits or too large.
std::optional<std::size_t> parse_number(std::string_view digits) {
  std::size_t value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (error != std::errc{} || end != digits.data() + digits.size()) return std::nullopt;
  return value;
}

/// One line on its way to an entry; `unit` is what such a line is called in messages.
class LineParser {
 public:
  LineParser(std::string_view name, std::size_t line, std::string_view text,
             std::string_view unit = "line")
      : name_(name), line_(line), text_(text), unit_(unit) {}

  WorldEntry parse() const {
    check_characters();
    const std::size_t first_space = text_.find(' ');
    const std::size_t last_space = text_.rfind(' ');
    if (first_space == last_space)
      fail("expected an id, a literal and a length, with spaces between");
    const base::TokenId id = parse_id(text_.substr(0, first_space));
    const auto length = parse_number(text_.substr(last_space + 1));
    if (!length) fail("expected a length in bytes after the last space");
    std::string bytes = parse_literal(text_.substr(first_space + 1, last_space - first_space - 1));
    if (bytes.size() != *length) {
      fail("the token has {} bytes, but the line says {}", bytes.size(), *length);
    }
    if (bytes.empty()) fail("the token is empty");
    return {id, std::move(bytes), line_};
  }

  /// The whole line as the inside of a literal of bytes. Characters beyond ASCII, which Python
  /// would escape, stand for their UTF-8 form.
  std::string parse_bytes() const {
    if (text_.size() > kMaxWorldLineBytes) {
      fail("has {} bytes, expected at most {}", text_.size(), kMaxWorldLineBytes);
    }
    std::string token;
    for (std::string_view rest = text_; !rest.empty();) {
      if (rest[0] == '\\') {
        rest.remove_prefix(parse_escape(rest, true, token));
      } else {
        token += rest[0];
        rest.remove_prefix(1);
      }
    }
    if (token.empty()) fail("the token is empty");
    return token;
  }

 private:
  template <typename... Args>
  [[noreturn]] void fail(fmt::format_string<Args...> format, Args&&... args) const {
    base::input_error("{}: {} {}: {}", name_, unit_, line_,
                      fmt::format(format, std::forward<Args>(args)...));
  }

  void check_characters() const {
    if (text_.size() > kMaxWorldLineBytes) {
      fail("has {} bytes, expected at most {}", text_.size(), kMaxWorldLineBytes);
    }
    if (text_.empty()) fail("is empty");
    if (text_.find('\0') != std::string_view::npos) fail("holds a zero byte, expected text");
    if (text_.find('\r') != std::string_view::npos) {
      fail("holds a carriage return, expected lines that end in a line feed alone");
    }
  }

  base::TokenId parse_id(std::string_view digits) const {
    const auto id = parse_number(digits);
    if (!id) fail("expected a decimal id before the first space");
    if (*id < 1 || *id > static_cast<std::size_t>(kMaxWorldId)) {
      fail("id {} is outside 1 to {}", *id, kMaxWorldId);
    }
    return static_cast<base::TokenId>(*id);
  }

  /// The token of a whole literal, prefix and quotes included.
  std::string parse_literal(std::string_view literal) const {
    const bool is_bytes = literal.starts_with('b');
    if (is_bytes) literal.remove_prefix(1);
    if (literal.empty() || (literal[0] != '\'' && literal[0] != '"')) {
      fail("expected a literal in quotes, or in quotes after a b");
    }
    const char quote = literal[0];
    literal.remove_prefix(1);
    std::string token;
    while (!literal.starts_with(quote)) {
      if (literal.empty()) fail("the literal has no closing quote");
      if (literal[0] == '\\') {
        literal.remove_prefix(parse_escape(literal, is_bytes, token));
      } else {
        literal.remove_prefix(parse_plain(literal, is_bytes, token));
      }
    }
    if (literal.size() > 1) fail("unexpected text between the literal and the length");
    return token;
  }

  /// Appends the unescaped character at the front of `rest` and gives its bytes in the line.
  std::size_t parse_plain(std::string_view rest, bool is_bytes, std::string& token) const {
    const base::Utf8Front front = base::utf8_front(rest);
    if (front.kind != base::Utf8Kind::kCharacter) fail("the literal is not valid UTF-8");
    if (is_bytes && front.size_bytes > 1) fail("a bytes literal holds a character beyond ASCII");
    token += rest.substr(0, front.size_bytes);
    return front.size_bytes;
  }

  /// Appends what the escape at the front of `rest` stands for and gives the escape's bytes in the
  /// line.
  std::size_t parse_escape(std::string_view rest, bool is_bytes, std::string& token) const {
    switch (rest.size() > 1 ? rest[1] : '\0') {
      case 'n':
        token += '\n';
        return 2;
      case 't':
        token += '\t';
        return 2;
      case 'r':
        token += '\r';
        return 2;
      case '\\':
        token += '\\';
        return 2;
      case '\'':
        token += '\'';
        return 2;
      case '"':
        token += '"';
        return 2;
      case 'x':
        return parse_code_point(rest, 2, is_bytes, token);
      case 'u':
        if (!is_bytes) return parse_code_point(rest, 4, is_bytes, token);
        break;
      case 'U':
        if (!is_bytes) return parse_code_point(rest, 8, is_bytes, token);
        break;
      default:
        break;
    }
    fail("unknown escape in the literal, expected one of \\n \\t \\r \\\\ \\' \\\" \\x{}",
         is_bytes ? "" : " \\u \\U");
  }

  /// An escape of `n_digits` hexadecimal digits after the backslash and a letter.
  std::size_t parse_code_point(std::string_view rest, std::size_t n_digits, bool is_bytes,
                               std::string& token) const {
    const std::string_view digits = rest.substr(2, n_digits);
    std::uint32_t value = 0;
    const auto [end, error] =
        std::from_chars(digits.data(), digits.data() + digits.size(), value, 16);
    if (digits.size() < n_digits || error != std::errc{} || end != digits.data() + digits.size()) {
      fail("expected {} hexadecimal digits after \\{}", n_digits, rest[1]);
    }
    if (is_bytes) {
      token += static_cast<char>(value);
    } else if (value > base::kMaxCodePoint || base::is_surrogate(value)) {
      fail("the escape \\{}{} is no character", rest[1], digits);
    } else {
      base::append_utf8(token, value);
    }
    return 2 + n_digits;
  }

  std::string_view name_;
  std::size_t line_;
  std::string_view text_;
  std::string_view unit_;
};

/// Sorts entries by one of their members; `what` names it when two entries have it in common.
template <typename Member>
void sort_unique(std::vector<WorldEntry>& entries, Member WorldEntry::*member,
                 std::string_view name, std::string_view unit, std::string_view what) {
  std::sort(entries.begin(), entries.end(), [&](const WorldEntry& a, const WorldEntry& b) {
    return a.*member != b.*member ? a.*member < b.*member : a.line < b.line;
  });
  const auto same = [&](const WorldEntry& a, const WorldEntry& b) {
    return a.*member == b.*member;
  };
  const auto found = std::adjacent_find(entries.begin(), entries.end(), same);
  if (found != entries.end()) {
    base::input_error("{}: {} {}: has the {} of {} {}", name, unit, std::next(found)->line, what,
                      unit, found->line);
  }
}

}  // namespace

std::vector<WorldEntry> parse_world_vocabulary(std::string_view text, std::string_view name) {
  if (text.empty()) base::input_error("{}: is empty, expected a vocabulary", name);
  std::vector<WorldEntry> entries;
  for (std::size_t begin = 0, line = 1; begin < text.size(); ++line) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    entries.push_back(LineParser(name, line, text.substr(begin, end - begin)).parse());
    begin = end + 1;
  }
  sort_entries(entries, name, "line");
  return entries;
}

std::string parse_escaped_bytes(std::string_view text, std::size_t id, std::string_view name) {
  return LineParser(name, id, text, "token").parse_bytes();
}

void sort_entries(std::vector<WorldEntry>& entries, std::string_view name, std::string_view unit) {
  if (entries.empty()) base::input_error("{}: the vocabulary has no tokens", name);
  sort_unique(entries, &WorldEntry::id, name, unit, "id");
  sort_unique(entries, &WorldEntry::bytes, name, unit, "bytes");
}

}  // namespace longreach::model
