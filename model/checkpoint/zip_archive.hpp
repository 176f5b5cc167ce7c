/// Where the entries of a zip archive lie, for archives that are mapped rather than unpacked.
/// Used by model/checkpoint/pth_reader; knows nothing about what the entries hold.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <string_view>

namespace longreach::model {

/// An entry stored without compression.
struct ZipEntry {
  std::span<const std::byte> data;  ///< Inside the archive's bytes.
  std::uint32_t crc32 = 0;          ///< Of the data as the archive says it; not compared here.
};

/// Entries by name.
using ZipEntries = std::map<std::string, ZipEntry, std::less<>>;

/// Reads the central directory (with zip64 records if there are any) and compares it with the
/// header and the data descriptor around each entry. Touches no data. `file` names the archive in
/// errors.
/// Errors: InputError if anything is out of bounds or contradictory, and for archives in several
/// parts and entries that are compressed, encrypted, duplicate or overlapping.
/// Source: PKWARE APPNOTE 6.3, sections 4.3 and 4.5.3.
ZipEntries read_zip_entries(std::span<const std::byte> bytes, std::string_view file);

}  // namespace longreach::model
