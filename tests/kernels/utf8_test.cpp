#include "kernels/base/utf8.hpp"

#include <gtest/gtest.h>

#include <string>
#include <string_view>

namespace longreach::base {
namespace {

void expect_front(std::string_view bytes, Utf8Kind kind, std::size_t size_bytes) {
  const Utf8Front front = utf8_front(bytes);
  EXPECT_EQ(front.kind, kind) << testing::PrintToString(std::string(bytes));
  EXPECT_EQ(front.size_bytes, size_bytes) << testing::PrintToString(std::string(bytes));
}

TEST(Utf8, EveryCharacterIsReadBackWhole) {
  for (char32_t code_point = 0; code_point <= kMaxCodePoint; ++code_point) {
    if (is_surrogate(code_point)) continue;
    std::string text;
    append_utf8(text, code_point);
    const std::size_t size = code_point < 0x80      ? 1
                             : code_point < 0x800   ? 2
                             : code_point < 0x10000 ? 3
                                                    : 4;
    ASSERT_EQ(text.size(), size);
    const Utf8Front whole = utf8_front(text + "\x80");
    ASSERT_EQ(whole.kind, Utf8Kind::kCharacter) << std::hex << std::uint32_t{code_point};
    ASSERT_EQ(whole.size_bytes, size);
    for (std::size_t n = 1; n < size; ++n) {
      ASSERT_EQ(utf8_front(text.substr(0, n)).kind, Utf8Kind::kIncomplete);
      ASSERT_EQ(utf8_front(text.substr(0, n) + "a").size_bytes, n);
      ASSERT_EQ(utf8_front(text.substr(0, n) + "a").kind, Utf8Kind::kInvalid);
    }
  }
}

TEST(Utf8, EncodesKnownCharacters) {
  std::string text;
  for (const char32_t code_point : {0x41U, 0xe9U, 0x20acU, 0x1f600U}) append_utf8(text, code_point);
  EXPECT_EQ(text, "A\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80");
}

TEST(Utf8, InvalidBytesAreCountedByMaximalSubparts) {
  expect_front("\x80", Utf8Kind::kInvalid, 1);
  expect_front("\xc0\x80", Utf8Kind::kInvalid, 1);          // overlong
  expect_front("\xc1\xbf", Utf8Kind::kInvalid, 1);          // overlong
  expect_front("\xe0\x9f\xbf", Utf8Kind::kInvalid, 1);      // overlong
  expect_front("\xf0\x8f\xbf\xbf", Utf8Kind::kInvalid, 1);  // overlong
  expect_front("\xed\xa0\x80", Utf8Kind::kInvalid, 1);      // surrogate
  expect_front("\xf4\x90\x80\x80", Utf8Kind::kInvalid, 1);  // above U+10FFFF
  expect_front("\xf5\x80\x80\x80", Utf8Kind::kInvalid, 1);
  expect_front("\xff", Utf8Kind::kInvalid, 1);
  expect_front(
      "\xe2\x82"
      "A",
      Utf8Kind::kInvalid, 2);
  expect_front(
      "\xf0\x9f\x98"
      "A",
      Utf8Kind::kInvalid, 3);
  expect_front("\xf0\x9f\xf0", Utf8Kind::kInvalid, 2);
}

}  // namespace
}  // namespace longreach::base
