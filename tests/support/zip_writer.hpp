/// Writes zip archives as torch does, and broken ones: every field may be given a false value.
#pragma once

#include "tests/support/bytes.hpp"

#include <libdeflate.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace longreach::test {

/// An entry and what to say about it.
struct ZipItem {
  std::string name;
  std::string data;
  std::optional<std::uint32_t> crc32 = {};   ///< Default: the right one.
  std::optional<std::uint64_t> offset = {};  ///< Writes no header and data but points there.
  std::uint16_t flags = 0x0808;              ///< UTF-8 name; sizes follow the data.
  std::uint16_t method = 0;                  ///< 0: stored.
};

/// Which zip64 records to write.
enum class Zip64 {
  kNone,       ///< As small archives of other programs.
  kEndRecord,  ///< As torch, which writes the end record even where it is not needed.
  kEverywhere  ///< All sizes and offsets in 64 bits, as torch does above 4 GiB.
};

class ZipWriter {
 public:
  explicit ZipWriter(Zip64 zip64) : zip64_(zip64) {}

  void add(const ZipItem& item) {
    const std::uint32_t crc32 =
        item.crc32.value_or(libdeflate_crc32(0, item.data.data(), item.data.size()));
    const std::uint64_t offset = item.offset.value_or(bytes_.size());
    if (!item.offset) add_local(item, crc32);
    add_central(item, crc32, offset);
    ++entries_;
  }

  std::string finish() {
    const std::uint64_t start = bytes_.size();
    bytes_ += directory_;
    if (zip64_ != Zip64::kNone) add_zip64_end(start);
    const bool everywhere = zip64_ == Zip64::kEverywhere;
    const std::uint16_t entries = everywhere ? 0xffff : entries_;
    bytes_ += "PK\5\6" + zeros(4) + little_endian(entries) + little_endian(entries) +
              narrow(directory_.size()) + narrow(start) + zeros(2);
    return bytes_;
  }

 private:
  static std::string zeros(std::size_t count) { return std::string(count, '\0'); }
  static std::string short_length(std::string_view text) {
    return little_endian(static_cast<std::uint16_t>(text.size()));
  }
  std::string narrow(std::uint64_t number) const {
    return little_endian(zip64_ == Zip64::kEverywhere ? 0xffffffff
                                                      : static_cast<std::uint32_t>(number));
  }

  void add_local(const ZipItem& item, std::uint32_t crc32) {
    const bool descriptor = (item.flags & 8) != 0;
    const auto size = static_cast<std::uint32_t>(item.data.size());
    // Data start at multiples of 64, behind a filling extra field.
    const std::size_t unpadded = bytes_.size() + 30 + item.name.size() + 4;
    const std::string filler(63 - (unpadded + 63) % 64, 'Z');
    const std::string extra = "FB" + short_length(filler) + filler;
    bytes_ +=
        "PK\3\4" + zeros(2) + little_endian(item.flags) + little_endian(item.method) + zeros(4);
    for (const std::uint32_t field : {crc32, size, size}) {
      bytes_ += little_endian(descriptor ? 0 : field);
    }
    bytes_ += short_length(item.name) + short_length(extra) + item.name + extra + item.data;
    if (!descriptor) return;
    bytes_ += "PK\7\10" + little_endian(crc32);
    for (int i = 0; i < 2; ++i) {
      bytes_ +=
          zip64_ == Zip64::kEverywhere ? little_endian(std::uint64_t{size}) : little_endian(size);
    }
  }

  void add_central(const ZipItem& item, std::uint32_t crc32, std::uint64_t offset) {
    const std::uint64_t size = item.data.size();
    std::string extra;
    if (zip64_ == Zip64::kEverywhere) {
      extra = little_endian(std::uint16_t{1}) + little_endian(std::uint16_t{24}) +
              little_endian(size) + little_endian(size) + little_endian(offset);
    }
    directory_ += "PK\1\2" + zeros(4) + little_endian(item.flags) + little_endian(item.method) +
                  zeros(4) + little_endian(crc32) + narrow(size) + narrow(size) +
                  short_length(item.name) + short_length(extra) + zeros(10) + narrow(offset) +
                  item.name + extra;
  }

  void add_zip64_end(std::uint64_t directory_start) {
    const std::uint64_t at = bytes_.size();
    bytes_ += "PK\6\6" + little_endian(std::uint64_t{44}) + zeros(12) +
              little_endian(std::uint64_t{entries_}) + little_endian(std::uint64_t{entries_}) +
              little_endian(std::uint64_t{directory_.size()}) + little_endian(directory_start);
    bytes_ += "PK\6\7" + zeros(4) + little_endian(at) + little_endian(std::uint32_t{1});
  }

  Zip64 zip64_;
  std::string bytes_;
  std::string directory_;
  std::uint16_t entries_ = 0;
};

/// An archive of these entries.
inline std::string zip_of(const std::vector<ZipItem>& items, Zip64 zip64 = Zip64::kEndRecord) {
  ZipWriter writer(zip64);
  for (const ZipItem& item : items) writer.add(item);
  return writer.finish();
}

}  // namespace longreach::test
