#include "model/tokenizer/world_tokenizer.hpp"

#include "kernels/base/error.hpp"
#include "tests/support/source_folder.hpp"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <random>
#include <string>
#include <vector>

namespace longreach::model {
namespace {

using Ids = std::vector<base::TokenId>;

/// A vocabulary of our own with every form of literal, gaps between ids, and lines in no order.
constexpr std::string_view kSmall =
    "7 'a' 1\n"
    "3 'ab' 2\n"
    "9 'abcd' 4\n"
    "12 ' ' 1\n"
    "13 '   ' 3\n"
    "100 \"'\" 1\n"
    "101 '\"' 1\n"
    "102 'it\\'s \"' 6\n"
    "103 '\\\\' 1\n"
    "104 '\\n\\t\\r' 3\n"
    "105 b'\\xe2\\x82' 2\n"
    "106 '\\x80' 2\n"
    "107 '\\u20ac' 3\n"
    "108 '\xe2\x82\xac\xe2\x82\xac' 6\n"
    "109 b\"'\\xff\\\\\" 3\n"
    "110 '\\U0001f600' 4\n"
    "111 '\\x00' 1\n"
    "70000 'b' 1";

WorldTokenizer small() { return WorldTokenizer::parse(kSmall, "small"); }

TEST(WorldTokenizer, LiteralsMeanWhatPythonMeans) {
  const WorldTokenizer tokenizer = small();
  const std::vector<std::pair<base::TokenId, std::string>> expected = {{3, "ab"},
                                                                       {13, "   "},
                                                                       {100, "'"},
                                                                       {101, "\""},
                                                                       {102, "it's \""},
                                                                       {103, "\\"},
                                                                       {104, "\n\t\r"},
                                                                       {105, "\xe2\x82"},
                                                                       {106, "\xc2\x80"},
                                                                       {107, "\u20ac"},
                                                                       {108, "\u20ac\u20ac"},
                                                                       {109, "'\xff\\"},
                                                                       {110, "\U0001f600"},
                                                                       {111, std::string(1, '\0')},
                                                                       {70000, "b"}};
  for (const auto& [id, bytes] : expected) {
    EXPECT_EQ(tokenizer.bytes(id), bytes) << id;
    EXPECT_EQ(tokenizer.encode(bytes), Ids{id}) << id;
  }
  EXPECT_EQ(tokenizer.name(), "small");
}

TEST(WorldTokenizer, TakesTheLongestTokenAtEachPosition) {
  const WorldTokenizer tokenizer = small();
  EXPECT_EQ(tokenizer.encode(""), Ids{});
  EXPECT_EQ(tokenizer.encode("abcd"), Ids{9});
  EXPECT_EQ(tokenizer.encode("abab"), (Ids{3, 3}));
  EXPECT_EQ(tokenizer.encode("aabcdb"), (Ids{7, 9, 70000}));
  EXPECT_EQ(tokenizer.encode("     "), (Ids{13, 12, 12}));
  EXPECT_EQ(tokenizer.encode("\u20ac\u20ac\u20ac"), (Ids{108, 107}));
  EXPECT_EQ(tokenizer.encode("a\xe2\x82"), (Ids{7, 105}));
}

TEST(WorldTokenizer, NamesAByteItCannotCover) {
  const WorldTokenizer tokenizer = small();
  for (const auto& [text, reason] : std::vector<std::pair<std::string, std::string>>{
           {"ab\xe2\x82\xff", "byte 0xff at offset 4"},
           {"abc", "byte 0x63 at offset 2"},  // "abcd" began, but only "ab" ended
           {std::string("z"), "byte 0x7a at offset 0"}}) {
    try {
      tokenizer.encode(text);
      FAIL() << "encoded " << text;
    } catch (const base::InputError& error) {
      EXPECT_NE(std::string(error.what()).find(reason), std::string::npos) << error.what();
      EXPECT_NE(std::string(error.what()).find("small"), std::string::npos) << error.what();
    }
  }
}

TEST(WorldTokenizer, IdsWithoutAnEntry) {
  const WorldTokenizer tokenizer = small();
  EXPECT_EQ(tokenizer.bytes(kEndToken), "");
  EXPECT_EQ(tokenizer.decode(Ids{7, 0, 70000}), "ab");
  for (const base::TokenId id : {-1, 1, 8, 112, 69999, 70001, 70002, 2147483647, -2147483647}) {
    EXPECT_FALSE(tokenizer.find(id).has_value()) << id;
    EXPECT_THROW(tokenizer.bytes(id), base::InputError) << id;
  }
}

TEST(WorldTokenizer, BrokenLinesAreNamed) {
  const std::vector<std::pair<std::string, std::string>> broken = {
      {"", "is empty"},
      {"\n", "line 1: is empty"},
      {"1 'a' 1\n\n2 'b' 1\n", "line 2: is empty"},
      {"1 'a' 1\n2", "line 2: expected an id, a literal and a length"},
      {"1 'a'", "line 1: expected an id, a literal and a length"},
      {"1 'a' ", "line 1: expected a length"},
      {"1 'a' x", "line 1: expected a length"},
      {"1 'a' -1", "line 1: expected a length"},
      {"1 'a' 1 ", "line 1: expected a length"},
      {"1 'a' 99999999999999999999", "line 1: expected a length"},
      {"1 'a' 2", "line 1: the token has 1 bytes, but the line says 2"},
      {"1 '\\x80' 1", "line 1: the token has 2 bytes, but the line says 1"},
      {"1 '' 0", "line 1: the token is empty"},
      {" 'a' 1", "line 1: expected a decimal id"},
      {"x 'a' 1", "line 1: expected a decimal id"},
      {"-1 'a' 1", "line 1: expected a decimal id"},
      {"+1 'a' 1", "line 1: expected a decimal id"},
      {"0 'a' 1", "line 1: id 0 is outside 1 to 10000000"},
      {"10000001 'a' 1", "line 1: id 10000001 is outside"},
      {"2147483648 'a' 1", "line 1: id 2147483648 is outside"},
      {"99999999999999999999 'a' 1", "line 1: expected a decimal id"},
      {"1 a 1", "line 1: expected a literal in quotes"},
      {"1  1", "line 1: expected a literal in quotes"},
      {"1 u'a' 1", "line 1: expected a literal in quotes"},
      {"1 B'a' 1", "line 1: expected a literal in quotes"},
      {"1 b 1", "line 1: expected a literal in quotes"},
      {"1 'a 1", "line 1: the literal has no closing quote"},
      {"1 'a\" 1", "line 1: the literal has no closing quote"},
      {"1 ' 1", "line 1: the literal has no closing quote"},
      {"1 'a\\' 1", "line 1: the literal has no closing quote"},
      {"1 'a'b' 3", "line 1: unexpected text between the literal and the length"},
      {"1 'a' 'b' 2", "line 1: unexpected text between the literal and the length"},
      {"1  'a' 1", "line 1: expected a literal in quotes"},
      {"1 'a\\q' 2", "line 1: unknown escape"},
      {"1 '\\0' 1", "line 1: unknown escape"},
      {"1 b'\\u0041' 1", "line 1: unknown escape"},
      {"1 'a\\ 1", "line 1: unknown escape"},
      {"1 '\\x' 1", "line 1: expected 2 hexadecimal digits after \\x"},
      {"1 '\\x4' 1", "line 1: expected 2 hexadecimal digits after \\x"},
      {"1 '\\x4 1", "line 1: expected 2 hexadecimal digits after \\x"},
      {"1 '\\x-4' 1", "line 1: expected 2 hexadecimal digits after \\x"},
      {"1 '\\u12g4' 3", "line 1: expected 4 hexadecimal digits after \\u"},
      {"1 '\\ud800' 3", "line 1: the escape \\ud800 is no character"},
      {"1 '\\U00110000' 4", "line 1: the escape \\U00110000 is no character"},
      {"1 '\xff' 1", "line 1: the literal is not valid UTF-8"},
      {"1 '\xe2\x82' 2", "line 1: the literal is not valid UTF-8"},
      {"1 '\xed\xa0\x80' 3", "line 1: the literal is not valid UTF-8"},
      {"1 b'\xc3\xa9' 2", "line 1: a bytes literal holds a character beyond ASCII"},
      {"1 'a' 1\r\n2 'b' 1\r\n", "line 1: holds a carriage return"},
      {std::string("1 '\0' 1", 7), "line 1: holds a zero byte"},
      {"1 'a' 1\n2 'b' 1\n1 'c' 1\n", "line 3: has the id of line 1"},
      {"1 'a' 1\n2 'b' 1\n3 b'a' 1\n", "line 3: has the bytes of line 1"},
      {"\x80\x02}q\x01(X\x04", "line 1: expected an id, a literal and a length"},
      {"1 '" + std::string(100000, 'a') + "' 100000", "line 1: has 100011 bytes, expected at most"},
      {std::string(1000000, ' '), "line 1: has 1000000 bytes, expected at most"},
  };
  for (const auto& [text, reason] : broken) {
    const std::string shown = testing::PrintToString(text.substr(0, 60));
    try {
      WorldTokenizer::parse(text, "some.txt");
      ADD_FAILURE() << "accepted " << shown;
    } catch (const base::InputError& error) {
      EXPECT_EQ(std::string(error.what()).substr(0, 10), "some.txt: ") << error.what();
      EXPECT_NE(std::string(error.what()).find(reason), std::string::npos)
          << shown << " gave: " << error.what();
    }
  }
}

TEST(WorldTokenizer, LongestLineAndLargestIdAreAccepted) {
  const std::string token(kMaxWorldLineBytes - 17, 'a');  // id, spaces, quotes and length take 17
  const std::string line = fmt::format("{} '{}' {}", kMaxWorldId, token, token.size());
  ASSERT_EQ(line.size(), kMaxWorldLineBytes);
  const WorldTokenizer tokenizer = WorldTokenizer::parse(line, "long");
  EXPECT_EQ(tokenizer.bytes(kMaxWorldId), token);
  EXPECT_EQ(tokenizer.encode(token + token), (Ids{kMaxWorldId, kMaxWorldId}));
  EXPECT_FALSE(tokenizer.find(kMaxWorldId + 1).has_value());
}

TEST(WorldTokenizer, RefusesAFileThatIsTooLarge) {
  const std::string path = testing::TempDir() + "longreach_large_vocabulary_test.txt";
  std::ofstream(path, std::ios::binary).close();
  std::filesystem::resize_file(path, kMaxWorldFileBytes + 1);  // sparse: takes no room
  EXPECT_THROW(WorldTokenizer::load(path), base::InputError);
  std::filesystem::resize_file(path, 0);
  EXPECT_THROW(WorldTokenizer::load(path), base::InputError);
  std::filesystem::remove(path);
  EXPECT_THROW(WorldTokenizer::load(path), base::InputError);
}

/// Greedy longest match without a trie.
Ids encode_slowly(std::string_view text, const std::vector<std::string>& tokens) {
  Ids ids;
  while (!text.empty()) {
    std::size_t best = tokens.size();
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      const bool longer = best == tokens.size() || tokens[i].size() > tokens[best].size();
      if (longer && text.starts_with(tokens[i])) best = i;
    }
    if (best == tokens.size()) return {};
    ids.push_back(static_cast<base::TokenId>(best + 1));
    text.remove_prefix(tokens[best].size());
  }
  return ids;
}

TEST(WorldTokenizer, AgreesWithASearchOfAllTokens) {
  for (unsigned seed = 1; seed <= 30; ++seed) {
    std::mt19937 random(seed);
    // Few different bytes, from both ends of the range, so that tokens share beginnings.
    constexpr std::string_view kAlphabet("\0a\x7f\x80\xff", 5);
    const auto random_bytes = [&](std::size_t size) {
      std::string bytes;
      for (std::size_t i = 0; i < size; ++i) bytes += kAlphabet[random() % kAlphabet.size()];
      return bytes;
    };
    std::vector<std::string> tokens;
    for (const char c : kAlphabet) tokens.emplace_back(1, c);
    while (tokens.size() < 120) {
      const std::string token = random_bytes(2 + random() % 6);
      if (std::find(tokens.begin(), tokens.end(), token) == tokens.end()) tokens.push_back(token);
    }
    std::string file;
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      std::string literal;
      for (const char c : tokens[i]) {
        literal += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
      }
      file += fmt::format("{} b'{}' {}\n", i + 1, literal, tokens[i].size());
    }
    const WorldTokenizer tokenizer = WorldTokenizer::parse(file, "random");
    for (int repeat = 0; repeat < 20; ++repeat) {
      const std::string text = random_bytes(random() % 200);
      const Ids ids = tokenizer.encode(text);
      ASSERT_EQ(ids, encode_slowly(text, tokens)) << "seed " << seed;
      ASSERT_EQ(tokenizer.decode(ids), text) << "seed " << seed;
    }
  }
}

/// The published vocabulary is not part of the project: the variable says where it is.
const char* published_vocabulary() { return std::getenv("LONGREACH_WORLD_VOCABULARY"); }

std::string bytes_of_hex(const std::string& hex) {
  std::string bytes;
  for (std::size_t i = 0; i < hex.size(); i += 2) {
    bytes += static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
  }
  return bytes;
}

TEST(PublishedVocabulary, GivesTheIdsOfTheReference) {
  if (published_vocabulary() == nullptr) {
    GTEST_SKIP() << "LONGREACH_WORLD_VOCABULARY does not name the published vocabulary file";
  }
  const WorldTokenizer tokenizer = WorldTokenizer::load(published_vocabulary());
  const auto pairs_file = test::source_folder() / "tests/model/data/tokenizer.jsonl";
  std::ifstream pairs(pairs_file);
  ASSERT_TRUE(pairs) << pairs_file;
  std::size_t n_pairs = 0;
  for (std::string line; std::getline(pairs, line); ++n_pairs) {
    const auto pair = nlohmann::json::parse(line);
    const std::string bytes = bytes_of_hex(pair.at("hex").get<std::string>());
    const Ids ids = pair.at("ids").get<Ids>();
    EXPECT_EQ(tokenizer.encode(bytes), ids) << line;
    EXPECT_EQ(tokenizer.decode(ids), bytes) << line;
    if (pair.contains("text")) {
      EXPECT_EQ(pair.at("text").get<std::string>(), bytes) << line;
    }
  }
  EXPECT_EQ(n_pairs, 416U);
  RecordProperty("pairs", static_cast<int>(n_pairs));
}

TEST(PublishedVocabulary, CoversEveryByteString) {
  if (published_vocabulary() == nullptr) {
    GTEST_SKIP() << "LONGREACH_WORLD_VOCABULARY does not name the published vocabulary file";
  }
  const WorldTokenizer tokenizer = WorldTokenizer::load(published_vocabulary());
  for (base::TokenId id = 1; id <= 65529; ++id) {
    const std::string_view bytes = tokenizer.bytes(id);
    ASSERT_EQ(tokenizer.encode(bytes), Ids{id}) << id;
    if (id <= 256) {
      EXPECT_EQ(bytes, std::string(1, static_cast<char>(id - 1)));
    }
  }
  EXPECT_FALSE(tokenizer.find(65530).has_value());
  std::mt19937 random(5);
  std::string text;
  for (int i = 0; i < 100000; ++i) text += static_cast<char>(random() % 256);
  EXPECT_EQ(tokenizer.decode(tokenizer.encode(text)), text);
}

}  // namespace
}  // namespace longreach::model
