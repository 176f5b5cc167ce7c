#include "kernels/base/sha256.hpp"

#include <gtest/gtest.h>

namespace longreach::base {
namespace {

TEST(Sha256, AgreesWithTheStandard) {  // FIPS 180-2, appendix B.1, in pieces
  Sha256 hash;
  hash.update(std::as_bytes(std::span("a", 1)));
  hash.update(std::as_bytes(std::span("bc", 2)));
  EXPECT_EQ(hash.hex_digest(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

}  // namespace
}  // namespace longreach::base
