#include "model/tokenizer/tokenizer.hpp"

#include "kernels/base/error.hpp"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>

namespace longreach::model {
namespace {

std::string every_byte() {
  std::string text;
  for (int b = 0; b < 256; ++b) text += static_cast<char>(b);
  return text;
}

TEST(ByteTokenizer, TokenIsTheValueOfAByte) {
  const auto tokenizer = open_tokenizer("bytes");
  EXPECT_EQ(tokenizer->name(), "bytes");
  const auto ids = tokenizer->encode(every_byte());
  ASSERT_EQ(ids.size(), 256U);
  for (base::TokenId id = 0; id < 256; ++id) EXPECT_EQ(ids[static_cast<std::size_t>(id)], id);
  EXPECT_TRUE(tokenizer->encode("").empty());
}

TEST(ByteTokenizer, DecodesAllButTheEndToken) {
  const auto tokenizer = open_tokenizer("bytes");
  EXPECT_EQ(tokenizer->decode(tokenizer->encode(every_byte())), every_byte().substr(1));
  EXPECT_EQ(tokenizer->bytes(kEndToken), "");
  EXPECT_FALSE(tokenizer->find(kEndToken).has_value());
  EXPECT_EQ(tokenizer->bytes(255), "\xff");
}

TEST(ByteTokenizer, RefusesOtherIds) {
  const auto tokenizer = open_tokenizer("bytes");
  for (const base::TokenId id : {-1, 256, 1 << 30}) {
    EXPECT_FALSE(tokenizer->find(id).has_value());
    EXPECT_THROW(tokenizer->bytes(id), base::InputError);
    EXPECT_THROW(tokenizer->decode(std::vector<base::TokenId>{65, id}), base::InputError);
  }
}

TEST(OpenTokenizer, ReadsAVocabularyFile) {
  const std::string path = testing::TempDir() + "longreach_open_tokenizer_test.txt";
  std::ofstream(path, std::ios::binary) << "5 'ab' 2\n6 'a' 1\n";
  const auto tokenizer = open_tokenizer(path);
  EXPECT_EQ(tokenizer->name(), path);
  EXPECT_EQ(tokenizer->encode("aab"), (std::vector<base::TokenId>{6, 5}));
  std::filesystem::remove(path);
}

TEST(OpenTokenizer, NamesWhatItCannotOpen) {
  for (const std::string& name : {std::string(), std::string("no/such/file"), testing::TempDir()}) {
    try {
      open_tokenizer(name);
      FAIL() << "opened " << name;
    } catch (const base::InputError& error) {
      EXPECT_NE(std::string(error.what()).find("'" + name + "'"), std::string::npos)
          << error.what();
    }
  }
}

}  // namespace
}  // namespace longreach::model
