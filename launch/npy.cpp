#include "launch/npy.hpp"

#include "kernels/base/error.hpp"
#include "launch/options/parse_number.hpp"

#include <bit>
#include <cstring>
#include <limits>
#include <optional>
#include <utility>

namespace longreach::launch {
namespace {

static_assert(std::endian::native == std::endian::little,
              "numbers are copied as they lie in memory");

constexpr std::size_t kAlignment = 64;  // of the numbers, as NumPy writes it

/// The text behind `'key':` in the header's dict, without blanks before it.
std::string_view value_of(std::string_view header, std::string_view key, const std::string& name) {
  const std::size_t at = header.find(fmt::format("'{}':", key));
  if (at == std::string_view::npos) base::input_error("{}: .npy header: no entry '{}'", name, key);
  std::string_view value = header.substr(at + key.size() + 3);
  value.remove_prefix(std::min(value.find_first_not_of(' '), value.size()));
  return value;
}

/// "(3, 5)" -> 3, 5; "(3,)" -> 3.
std::vector<std::size_t> parse_shape(std::string_view text, const std::string& name) {
  std::vector<std::size_t> shape;
  const std::size_t close = text.find(')');
  if (!text.starts_with('(') || close == std::string_view::npos) {
    base::input_error("{}: .npy header: no tuple as shape", name);
  }
  text = text.substr(1, close - 1);
  while (!text.empty()) {
    const std::size_t comma = std::min(text.find(','), text.size());
    const auto extent = parse_number<std::size_t>(text.substr(0, comma));
    if (!extent) base::input_error("{}: .npy header: a shape of other things than numbers", name);
    shape.push_back(*extent);
    text.remove_prefix(std::min(comma + 1, text.size()));
    text.remove_prefix(std::min(text.find_first_not_of(' '), text.size()));
  }
  return shape;
}

template <typename Integer>
std::vector<std::int64_t> widen(std::string_view data, const std::string& name) {
  std::vector<std::int64_t> values;
  values.reserve(data.size() / sizeof(Integer));
  for (std::size_t at = 0; at < data.size(); at += sizeof(Integer)) {
    Integer value{};
    std::memcpy(&value, data.data() + at, sizeof(Integer));
    if (!std::in_range<std::int64_t>(value)) {
      base::input_error("{}: element {}: {} is too large", name, values.size(), value);
    }
    values.push_back(static_cast<std::int64_t>(value));
  }
  return values;
}

/// How the elements of one dtype are read.
struct IntegerReader {
  std::string_view dtype;
  std::size_t element_bytes;
  std::vector<std::int64_t> (*read)(std::string_view data, const std::string& name);
};

constexpr IntegerReader kReaders[] = {
    {"'|i1'", 1, widen<std::int8_t>},  {"'|u1'", 1, widen<std::uint8_t>},
    {"'<i2'", 2, widen<std::int16_t>}, {"'<u2'", 2, widen<std::uint16_t>},
    {"'<i4'", 4, widen<std::int32_t>}, {"'<u4'", 4, widen<std::uint32_t>},
    {"'<i8'", 8, widen<std::int64_t>}, {"'<u8'", 8, widen<std::uint64_t>},
};

const IntegerReader& reader_of(std::string_view dtype, const std::string& name) {
  for (const IntegerReader& reader : kReaders) {
    if (dtype.starts_with(reader.dtype)) return reader;
  }
  base::input_error("{}: expected little-endian integers, found dtype {}", name,
                    dtype.substr(0, std::min<std::size_t>(dtype.find(','), 40)));
}

/// The product, or nothing if it overflows.
std::optional<std::size_t> product(const std::vector<std::size_t>& factors) {
  std::size_t result = 1;
  for (const std::size_t factor : factors) {
    if (__builtin_mul_overflow(result, factor, &result)) return std::nullopt;
  }
  return result;
}

std::string matrix_header(std::size_t n_rows, std::size_t n_columns) {
  std::string dict = fmt::format("{{'descr': '<f4', 'fortran_order': False, 'shape': ({}, {}), }}",
                                 n_rows, n_columns);
  const std::size_t prefix_bytes = kNpyMagic.size() + 4;  // version and length follow the magic
  dict.append((kAlignment - (prefix_bytes + dict.size() + 1) % kAlignment) % kAlignment, ' ');
  dict += '\n';
  std::string header(kNpyMagic);
  header +=
      {'\x01', '\x00', static_cast<char>(dict.size() & 0xff), static_cast<char>(dict.size() >> 8)};
  return header + dict;
}

}  // namespace

NpyIntegers read_npy_integers(std::string_view bytes, const std::string& name) {
  const auto byte_at = [bytes](std::size_t i) { return static_cast<unsigned char>(bytes[i]); };
  if (!bytes.starts_with(kNpyMagic) || bytes.size() < 12)
    base::input_error("{}: a torn .npy file", name);
  // The length has 2 bytes in version 1, 4 in versions 2 and 3.
  const std::size_t length_bytes = byte_at(6) == 1 ? 2 : 4;
  std::size_t header_length = 0;
  for (std::size_t i = length_bytes; i-- > 0;) header_length = header_length << 8 | byte_at(8 + i);
  const std::size_t header_at = 8 + length_bytes;
  if (header_length > bytes.size() - header_at) base::input_error("{}: a torn .npy file", name);
  const std::string_view header = bytes.substr(header_at, header_length);
  const std::string_view data = bytes.substr(header_at + header_length);

  const IntegerReader& reader = reader_of(value_of(header, "descr", name), name);
  NpyIntegers array;
  array.shape = parse_shape(value_of(header, "shape", name), name);
  const auto n_elements = product(array.shape);
  if (!n_elements || *n_elements != data.size() / reader.element_bytes ||
      data.size() % reader.element_bytes != 0) {
    base::input_error("{}: a .npy file with {} bytes of numbers, which is not what its shape needs",
                      name, data.size());
  }
  array.values = reader.read(data, name);
  return array;
}

NpyMatrixWriter::NpyMatrixWriter(const std::filesystem::path& path, std::size_t n_rows,
                                 std::size_t n_columns)
    : file_(path), n_rows_(n_rows), n_columns_(n_columns) {
  const std::string header = matrix_header(n_rows, n_columns);
  header_bytes_ = header.size();
  file_.write(header);
}

void NpyMatrixWriter::write_row(std::size_t row, std::span<const float> values) {
  LR_CHECK(row < n_rows_ && values.size() == n_columns_);
  file_.write_at(header_bytes_ + row * n_columns_ * sizeof(float), std::as_bytes(values));
}

}  // namespace longreach::launch
