#include "kernels/base/sha256.hpp"

#include "kernels/base/error.hpp"

#include <fmt/format.h>
#include <openssl/evp.h>

#include <array>

namespace longreach::base {
namespace {

EVP_MD_CTX* cast(void* context) { return static_cast<EVP_MD_CTX*>(context); }

}  // namespace

void Sha256::FreeContext::operator()(void* context) const { EVP_MD_CTX_free(cast(context)); }

Sha256::Sha256() : context_(EVP_MD_CTX_new()) {
  LR_CHECK(context_ && EVP_DigestInit_ex(cast(context_.get()), EVP_sha256(), nullptr) == 1);
}

void Sha256::update(std::span<const std::byte> bytes) {
  LR_CHECK(EVP_DigestUpdate(cast(context_.get()), bytes.data(), bytes.size()) == 1);
}

std::string Sha256::hex_digest() {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned int n_bytes = 0;
  LR_CHECK(EVP_DigestFinal_ex(cast(context_.get()), digest.data(), &n_bytes) == 1);
  std::string hex;
  for (unsigned int i = 0; i < n_bytes; ++i) hex += fmt::format("{:02x}", digest[i]);
  return hex;
}

}  // namespace longreach::base
