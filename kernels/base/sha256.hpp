/// SHA-256 of a stream of bytes: the fingerprint by which runs are compared.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>

namespace longreach::base {

/// Takes bytes in any number of pieces. Move-only.
class Sha256 {
 public:
  Sha256();
  void update(std::span<const std::byte> bytes);
  /// The digest as 64 hexadecimal digits; the object takes no more bytes after this.
  std::string hex_digest();

 private:
  struct FreeContext {
    void operator()(void* context) const;
  };
  std::unique_ptr<void, FreeContext> context_;  // an EVP_MD_CTX
};

}  // namespace longreach::base
