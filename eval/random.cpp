#include "eval/random.hpp"

#include "kernels/base/error.hpp"
#include "kernels/base/hash.hpp"

namespace longreach::eval {

Random::Random(std::string_view name, std::initializer_list<std::uint64_t> numbers) {
  const auto absorb = [this](std::uint64_t number) { state_ = base::mix_bits(bits() ^ number); };
  absorb(name.size());
  for (const char c : name) absorb(static_cast<unsigned char>(c));
  for (const std::uint64_t number : numbers) absorb(number);
}

std::uint64_t Random::bits() { return base::mix_bits(state_ += base::kSplitMixStep); }

std::uint64_t Random::below(std::uint64_t n) {
  LR_DCHECK(n >= 1);
  // 2^64 mod n numbers are drawn again, so that every remainder is equally likely.
  const std::uint64_t n_excess = -n % n;
  for (;;) {
    const std::uint64_t number = bits();
    if (number >= n_excess) return number % n;
  }
}

std::string Random::text(std::string_view alphabet, std::size_t n) {
  std::string result;
  for (std::size_t i = 0; i < n; ++i) result += alphabet[below(alphabet.size())];
  return result;
}

}  // namespace longreach::eval
