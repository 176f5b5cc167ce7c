#include "launch/token_file.hpp"

#include "tests/support/input_error.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <limits>

namespace longreach::launch {
namespace {

using base::TokenId;
using Tokens = std::vector<TokenId>;

/// A .npy file with this header dict and these numbers, version 1.0.
template <typename Number>
std::string npy(std::string dict, const std::vector<Number>& numbers) {
  dict.append(64 - (10 + dict.size() + 1) % 64, ' ');
  dict += '\n';
  std::string bytes = "\x93NUMPY";
  bytes += {'\x01', '\x00', static_cast<char>(dict.size()), static_cast<char>(dict.size() >> 8)};
  bytes += dict;
  const std::size_t header_bytes = bytes.size();
  bytes.resize(header_bytes + numbers.size() * sizeof(Number));
  std::memcpy(bytes.data() + header_bytes, numbers.data(), numbers.size() * sizeof(Number));
  return bytes;
}

template <typename Number>
std::string npy_list(const std::string& dtype, const std::vector<Number>& numbers) {
  return npy(fmt::format("{{'descr': '{}', 'fortran_order': False, 'shape': ({},), }}", dtype,
                         numbers.size()),
             numbers);
}

/// The sentence parse_tokens refuses these bytes with.
std::string refusal(const std::string& bytes) {
  return test::refusal([&bytes] { parse_tokens(bytes, "ids"); });
}

TEST(ParseTokens, ReadsText) {
  EXPECT_EQ(parse_tokens("1,2 3\n4\t,\r\n5", "ids"), (Tokens{1, 2, 3, 4, 5}));
  EXPECT_EQ(parse_tokens("", "ids"), Tokens{});
}

TEST(ParseTokens, ReadsJson) {
  EXPECT_EQ(parse_tokens(" [1, 2,\n3] ", "ids"), (Tokens{1, 2, 3}));
  EXPECT_EQ(parse_tokens("[]", "ids"), Tokens{});
}

TEST(ParseTokens, ReadsNpyOfAnyIntegerType) {
  const Tokens expected{1, 0, 127};
  EXPECT_EQ(parse_tokens(npy_list<std::int8_t>("|i1", {1, 0, 127}), "ids"), expected);
  EXPECT_EQ(parse_tokens(npy_list<std::uint8_t>("|u1", {1, 0, 127}), "ids"), expected);
  EXPECT_EQ(parse_tokens(npy_list<std::int16_t>("<i2", {1, 0, 127}), "ids"), expected);
  EXPECT_EQ(parse_tokens(npy_list<std::uint16_t>("<u2", {1, 0, 127}), "ids"), expected);
  EXPECT_EQ(parse_tokens(npy_list<std::int32_t>("<i4", {1, 0, 127}), "ids"), expected);
  EXPECT_EQ(parse_tokens(npy_list<std::uint32_t>("<u4", {1, 0, 127}), "ids"), expected);
  EXPECT_EQ(parse_tokens(npy_list<std::int64_t>("<i8", {1, 0, 127}), "ids"), expected);
  EXPECT_EQ(parse_tokens(npy_list<std::uint64_t>("<u8", {1, 0, 127}), "ids"), expected);
  EXPECT_EQ(
      parse_tokens(npy<std::uint16_t>("{'descr': '<u2', 'fortran_order': True, 'shape': (1, 2)}",
                                      {65529, 3}),
                   "ids"),
      (Tokens{65529, 3}));
}

TEST(ParseTokens, ReadsNpyVersion2) {
  std::string bytes = npy_list<std::int32_t>("<i4", {5, 6});
  bytes[6] = '\x02';  // here the header's length has four bytes
  bytes.insert(10, 2, '\0');
  EXPECT_EQ(parse_tokens(bytes, "ids"), (Tokens{5, 6}));
}

TEST(ParseTokens, RefusesEveryTruncationOfAnNpyFile) {
  const std::string whole = npy_list<std::int32_t>("<i4", {5, 6, 7});
  for (std::size_t n = 1; n < whole.size(); ++n) EXPECT_NE(refusal(whole.substr(0, n)), "") << n;
  EXPECT_NE(refusal(whole + '\0'), "");
}

TEST(ParseTokens, RefusesOtherArrays) {
  EXPECT_NE(refusal(npy_list<float>("<f4", {1})), "");
  EXPECT_NE(refusal(npy_list<std::int32_t>(">i4", {1})), "");
  const auto shaped = [](const std::string& shape) {
    return npy<std::int32_t>("{'descr': '<i4', 'fortran_order': False, 'shape': " + shape + "}",
                             {1, 2, 3, 4});
  };
  EXPECT_NO_THROW(parse_tokens(shaped("(1, 4)"), "ids"));
  for (const char* shape : {"(2, 2)", "(1, 1, 4)", "()", "(5,)", "(-4,)", "4", "(4", "(x,)",
                            "(4294967296, 4294967296, 4)", "(18446744073709551620,)"}) {
    EXPECT_NE(refusal(shaped(shape)), "") << shape;
  }
}

TEST(ParseTokens, NamesFileIndexAndId) {
  EXPECT_EQ(refusal("1,2,-3"), "ids: token 2: id -3 is not a token id");
  EXPECT_EQ(refusal("[1,4294967296]"), "ids: token 1: id 4294967296 is not a token id");
  EXPECT_EQ(refusal(npy_list<std::int64_t>("<i8", {0, 1LL << 40})),
            "ids: token 1: id 1099511627776 is not a token id");
  EXPECT_EQ(refusal("[1, \"a\"]"), "ids: token 1: expected a token id, found \"a\"");
  EXPECT_EQ(refusal("1 2.5"), "ids: token 1: expected an integer, found \"2.5\"");
}

TEST(ParseTokens, RefusesBrokenJson) {
  for (const char* text :
       {"[1,2", "[[1]]", "[1 2]", "[1.0]", "[true]", "[1]x", "[-1]", "[1e999]", "[1e3]"}) {
    EXPECT_NE(refusal(text), "") << text;
  }
  EXPECT_NE(refusal(std::string(1 << 20, '[')), "") << "deep nesting";
  EXPECT_EQ(refusal(std::string("[1,2]\0,3]", 9)), "ids: no valid JSON at byte 6: a zero byte");
  EXPECT_EQ(parse_tokens("\xef\xbb\xbf[1,2]", "ids"), (Tokens{1, 2}));
}

TEST(CheckVocabulary, NamesTheFirstBadToken) {
  const Tokens tokens{0, 255, 256};
  EXPECT_NO_THROW(check_vocabulary(tokens, 257, "ids"));
  EXPECT_EQ(test::refusal([&tokens] { check_vocabulary(tokens, 256, "ids"); }),
            "ids: token 2: id 256 is outside the vocabulary of 256 tokens");
}

}  // namespace
}  // namespace longreach::launch
