#include "kernels/base/json.hpp"

#include "tests/support/input_error.hpp"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <array>
#include <charconv>
#include <limits>
#include <random>
#include <set>
#include <string>

namespace longreach::base {
namespace {

using nlohmann::json;

std::string refusal(std::string_view text) {
  return test::refusal([text] { parse_json(std::string(text), "a.json"); });
}

std::string nested(std::size_t depth) { return std::string(depth, '[') + std::string(depth, ']'); }

TEST(ParseJson, GivesWhatTheLibraryGives) {
  for (const char* const text :
       {"null", "true", "-0", "7", "-7", "18446744073709551615", "18446744073709551616", "1.5e300",
        "\"\\u0000\\ud83d\\ude00\"", "[]", "{}", " [1, [2, {\"a\": [3]}], {}, []] \r\n",
        R"({"a": {"b": [1, {"c": null}]}, "d": {"b": false}, "e": "a"})", "\xef\xbb\xbf[1]"}) {
    const json value = parse_json(text, "a.json");
    EXPECT_EQ(value, json::parse(text)) << text;
    EXPECT_EQ(value.type(), json::parse(text).type()) << text;
  }
}

TEST(ParseJson, RefusesWhatIsNoJson) {
  EXPECT_EQ(refusal(""), "a.json: no valid JSON at byte 1");
  EXPECT_EQ(refusal("[1,]"), "a.json: no valid JSON at byte 4");
  for (const char* const text : {"{", "nul", "[1] x", "[1][2]", "'a'", "{1:2}", "[01]", "NaN", "//",
                                 "\"\xff\"", "\"\xed\xa0\x80\"", "\"\xc3\"", "\"\\ud800\"",
                                 "\"a\nb\"", "\xef\xbb", "[1]\xef\xbb\xbf", "\xff\xfe[\x01"}) {
    EXPECT_NE(refusal(text).find("a.json: no valid JSON at byte"), std::string::npos) << text;
  }
}

TEST(ParseJson, TakesWhatTheOtherParserTakes) {
  // Pieces in any order are rarely JSON, and often nearly.
  constexpr std::array kPieces = {
      "[",    "]",   "{",    "}",    ",",    ":",        "\"",      "\"a\"", "\"b\"",
      "0",    "1",   "23",   "-",    ".",    "e",        "E",       "+",     "\\",
      "\\u",  "\\n", "d83d", "de00", "00e9", "\\ud83d",  "true",    "null",  "\xc3",
      "\xa9", " ",   "\n",   "\t",   "\x7f", "\xf0\x9f", "\x98\x80"};
  constexpr unsigned kSeed = 7;
  std::mt19937 random(kSeed);
  std::size_t n_taken = 0;
  for (int i = 0; i < 200'000; ++i) {
    std::string text;
    const std::size_t n = 1 + random() % 8;
    for (std::size_t k = 0; k < n; ++k) text += kPieces[random() % kPieces.size()];
    if (random() % 2 == 0) text = "\"" + text + "\"";
    try {
      const json value = parse_json(text, "a.json");
      ++n_taken;
      ASSERT_TRUE(json::accept(text)) << text;
      ASSERT_EQ(value.dump(), json::parse(text).dump()) << text;
      ASSERT_EQ(value.type(), json::parse(text).type()) << text;
    } catch (const InputError& error) {
      const std::string sentence = error.what();
      if (sentence.find("twice") != sentence.npos || sentence.find("range") != sentence.npos)
        continue;
      ASSERT_FALSE(json::accept(text)) << text << " " << sentence;
    }
  }
  EXPECT_GT(n_taken, 1000U);
}

TEST(ParseJson, HoldsAStringOnce) {
  // What a string takes is known before it is read.
  const std::string text = "[\"" + std::string(1'000'000, 'x') + "\\n\", \"\\u00e9\"]";
  json value = parse_json(text, "a.json");
  EXPECT_LE(value[0].get_ref<std::string&>().capacity(), 1'000'002U);
  EXPECT_EQ(value[1], "\xc3\xa9");
}

TEST(ParseJson, RefusesZeroBytesWhereverTheyStand) {
  using namespace std::string_view_literals;
  for (const std::string_view text :
       {"\0"sv, "[1]\0"sv, "[1,\0 2]"sv, "\"a\0b\""sv, "[1]\0,2]"sv}) {
    EXPECT_EQ(refusal(text),
              fmt::format("a.json: no valid JSON at byte {}: a zero byte", text.find('\0') + 1));
  }
}

TEST(ParseJson, RefusesNumbersOutOfRange) {
  EXPECT_EQ(refusal("[1, 1e999]"), "a.json: the number \"1e999\" at byte 9 is out of range");
  EXPECT_NE(refusal("{\"a\": -1e400}").find("out of range"), std::string::npos);
}

TEST(ParseJson, RefusesKeysThatStandTwice) {
  EXPECT_EQ(refusal(R"({"a": 1, "b": {"a": 2}, "\u0061": 3})"),
            "a.json: the key \"a\" stands twice in one object");
  EXPECT_NE(refusal(R"([{"x": {"y": 1, "y": 1}}])").find("\"y\""), std::string::npos);
  EXPECT_NO_THROW(parse_json(R"([{"a": {"a": 1}}, {"a": {"a": 1}}])", "a.json"));
}

TEST(ParseJson, RefusesDepthBeforeItCosts) {
  EXPECT_NO_THROW(parse_json(nested(kDeepestJson), "a.json"));
  for (const std::size_t depth : {kDeepestJson + 1, std::size_t{1'000'000}}) {
    EXPECT_NE(refusal(nested(depth)).find("inside one another"), std::string::npos);
  }
  std::string objects;
  for (int i = 0; i < 200'000; ++i) objects += "{\"a\":";
  EXPECT_NE(refusal(objects).find("inside one another"), std::string::npos);
}

TEST(WholeNumber, IsWrittenAsOne) {
  const auto number = [](const char* text) { return whole_number(json::parse(text)); };
  EXPECT_EQ(number("0"), 0);
  EXPECT_EQ(number("18446744073709551615"), std::numeric_limits<std::uint64_t>::max());
  for (const char* const text : {"-1", "1.0", "1e3", "18446744073709551616", "true", "\"1\"", "[1]",
                                 "null", "-18446744073709551616"}) {
    EXPECT_EQ(number(text), std::nullopt) << text;
  }
}

TEST(JsonText, IsShortAndPlain) {
  EXPECT_EQ(json_text("\xc3\xa9\n\xff"), "\"\\u00e9\\n\\ufffd\"");
  EXPECT_EQ(json_text(json(std::string(1000, 'a'))),
            std::string("\"") + std::string(79, 'a') + "...");
}

/// The bytes that utf8_name wrote.
std::string read_back(std::string_view text) {
  std::string bytes;
  while (!text.empty()) {
    if (text.starts_with("\\x")) {
      unsigned char byte = 0;
      std::from_chars(text.data() + 2, text.data() + 4, byte, 16);
      bytes += static_cast<char>(byte);
      text.remove_prefix(4);
    } else {
      bytes += text.front();
      text.remove_prefix(1);
    }
  }
  return bytes;
}

TEST(Utf8Name, LeavesUtf8AsItIs) {
  for (const char* const name :
       {"", "a b", "caf\xc3\xa9", "\xf0\x9f\x98\x80", "a\\b\\", "\t\"%\n"}) {
    EXPECT_EQ(utf8_name(name), name);
  }
  EXPECT_EQ(utf8_name("caf\xe9/\xed\xa0\x80"), "caf\\xe9/\\xed\\xa0\\x80");
  EXPECT_EQ(utf8_name("a\\xe9"), "a\\x5cxe9");
}

TEST(Utf8Name, TellsAnyBytesApart) {
  // All names of up to five of these bytes.
  const std::string alphabet = "\\x5c\xc3\xa9\xff";
  std::vector<std::string> names{""};
  for (std::size_t begin = 0, length = 1; length <= 5; ++length) {
    for (const std::size_t end = names.size(); begin < end; ++begin) {
      for (const char byte : alphabet) names.push_back(names[begin] + byte);
    }
  }
  std::set<std::string> texts;
  for (const std::string& name : names) {
    const std::string text = utf8_name(name);
    EXPECT_NO_THROW(json(text).dump()) << text;
    EXPECT_EQ(read_back(text), name);
    EXPECT_TRUE(texts.insert(text).second) << text;
  }
}

}  // namespace
}  // namespace longreach::base
