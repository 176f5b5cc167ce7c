#include "model/checkpoint/zip_archive.hpp"

#include "kernels/base/error.hpp"
#include "model/checkpoint/byte_reader.hpp"
#include "model/checkpoint/printable.hpp"

#include <algorithm>
#include <limits>
#include <optional>
#include <utility>
#include <vector>

namespace longreach::model {
namespace {

using base::input_error;
using Bytes = std::span<const std::byte>;

constexpr std::uint32_t kLocalHeader = 0x04034b50;
constexpr std::uint32_t kDataDescriptor = 0x08074b50;
constexpr std::uint32_t kCentralHeader = 0x02014b50;
constexpr std::uint32_t kEndRecord = 0x06054b50;
constexpr std::uint32_t kZip64Locator = 0x07064b50;
constexpr std::uint32_t kZip64EndRecord = 0x06064b50;

constexpr std::size_t kCentralHeaderBytes = 46;
constexpr std::size_t kEndRecordBytes = 22;
constexpr std::size_t kZip64LocatorBytes = 20;
constexpr std::size_t kLongestComment = 0xffff;

// A field with all bits set says: see the zip64 record.
constexpr std::uint16_t kSee64Short = 0xffff;
constexpr std::uint32_t kSee64 = 0xffffffff;
constexpr std::uint16_t kZip64ExtraId = 1;

constexpr std::uint16_t kEncryptedFlags = 1U << 0 | 1U << 6 | 1U << 13;
constexpr std::uint16_t kDescriptorFlag = 1U << 3;
constexpr std::uint16_t kStored = 0;

/// Where the central directory lies.
struct Directory {
  std::uint64_t entries = 0;
  std::uint64_t size_bytes = 0;
  std::uint64_t offset = 0;
  std::uint64_t end = 0;  ///< Of the directory, as the place of the record behind it says.
};

/// What both the central directory and the header before the data say about an entry.
struct Header {
  std::string_view name;
  std::uint16_t flags = 0;
  std::uint16_t method = 0;
  std::uint32_t crc32 = 0;
  std::uint64_t compressed_bytes = 0;
  std::uint64_t size_bytes = 0;
};

struct CentralHeader : Header {
  std::uint64_t offset = 0;  ///< Of the local header.
};

/// The 64-bit numbers of an extra field, in the order of the 32-bit fields that refer to it.
class Zip64Extra {
 public:
  /// `extra` is the whole extra field, a list of (id, length, payload).
  Zip64Extra(std::string_view extra, const std::string& what)
      : reader_({}, what + ": zip64 extra field") {
    ByteReader list(std::as_bytes(std::span(extra)), what + ": extra field");
    while (list.remaining() >= 4) {
      const auto id = list.number<std::uint16_t>();
      const auto payload = list.take(list.number<std::uint16_t>());
      if (id == kZip64ExtraId) reader_ = ByteReader(payload, reader_.what());
    }
  }

  /// `field` itself, or the next 64-bit number if the field refers to one.
  std::uint64_t resolve(std::uint32_t field) {
    return field == kSee64 ? reader_.number<std::uint64_t>() : field;
  }

 private:
  ByteReader reader_;
};

class ZipDirectoryReader {
 public:
  ZipDirectoryReader(Bytes bytes, std::string_view file) : bytes_(bytes), file_(file) {}

  ZipEntries read() {
    const Directory directory = find_directory();
    std::vector<CentralHeader> headers = read_central_headers(directory);
    std::ranges::sort(headers, {}, &CentralHeader::offset);
    ZipEntries entries;
    std::uint64_t free_from = 0;  // entries lie one behind the other, before the directory
    for (const CentralHeader& header : headers) {
      const std::string what = entry_text(header.name);
      if (header.offset < free_from) input_error("{}: overlaps another entry", what);
      const Bytes data = locate(header, what, directory.offset);
      free_from = offset_of(data) + data.size();
      if (!entries.emplace(header.name, ZipEntry{data, header.crc32}).second) {
        input_error("{}: the archive has this entry twice", what);
      }
    }
    return entries;
  }

 private:
  std::string entry_text(std::string_view name) const {
    return fmt::format("{}: zip entry '{}'", file_, printable(name));
  }

  std::uint64_t offset_of(Bytes part) const {
    return static_cast<std::uint64_t>(part.data() - bytes_.data());
  }

  /// A reader of [begin, end), which must lie inside the file.
  ByteReader range(std::uint64_t begin, std::uint64_t end, std::string what) const {
    if (begin > end || end > bytes_.size()) {
      input_error("{}: expected at bytes {} to {} of a file of {} bytes", what, begin, end,
                  bytes_.size());
    }
    return {bytes_.subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(end - begin)),
            std::move(what)};
  }

  /// The end record stands at the end of the file; only a comment may follow it.
  std::size_t find_end_record() const {
    const std::size_t size = bytes_.size();
    for (std::size_t comment = 0; comment <= kLongestComment; ++comment) {
      if (size < kEndRecordBytes + comment) break;
      const std::size_t at = size - kEndRecordBytes - comment;
      ByteReader record(bytes_.subspan(at, kEndRecordBytes), file_);
      if (record.number<std::uint32_t>() != kEndRecord) continue;
      record.take(16);
      if (record.number<std::uint16_t>() == comment) return at;
    }
    input_error("{}: the end of the zip archive is missing, the file may be cut off", file_);
  }

  Directory find_directory() const {
    const std::size_t at = find_end_record();
    ByteReader record(bytes_.subspan(at, kEndRecordBytes), file_ + ": zip end record");
    record.number<std::uint32_t>();
    const auto disk = record.number<std::uint16_t>();
    const auto directory_disk = record.number<std::uint16_t>();
    const auto entries_here = record.number<std::uint16_t>();
    const auto entries = record.number<std::uint16_t>();
    const auto size_bytes = record.number<std::uint32_t>();
    const auto offset = record.number<std::uint32_t>();

    Directory directory{entries, size_bytes, offset, at};
    const auto zip64 = find_zip64_directory(at);
    if (zip64) {
      const auto agrees = [](std::uint64_t value, std::uint64_t wide, std::uint64_t see64) {
        return value == see64 || value == wide;
      };
      if (!agrees(entries, zip64->entries, kSee64Short) ||
          !agrees(size_bytes, zip64->size_bytes, kSee64) ||
          !agrees(offset, zip64->offset, kSee64)) {
        input_error("{}: the two end records of the zip archive contradict each other", file_);
      }
      directory = *zip64;
    } else if (entries == kSee64Short || size_bytes == kSee64 || offset == kSee64) {
      input_error("{}: the zip64 end record of the archive is missing", file_);
    }
    if (disk != 0 || directory_disk != 0 || entries_here != entries) {
      input_error("{}: zip archives in several parts are not supported", file_);
    }
    return directory;
  }

  /// What the zip64 end record says, if there is a locator of one before the end record.
  std::optional<Directory> find_zip64_directory(std::size_t end_record) const {
    if (end_record < kZip64LocatorBytes) return std::nullopt;
    const std::size_t locator_at = end_record - kZip64LocatorBytes;
    ByteReader locator(bytes_.subspan(locator_at, kZip64LocatorBytes), file_);
    if (locator.number<std::uint32_t>() != kZip64Locator) return std::nullopt;
    const auto disk = locator.number<std::uint32_t>();
    const auto record_at = locator.number<std::uint64_t>();
    const auto disks = locator.number<std::uint32_t>();

    ByteReader record = range(record_at, locator_at, file_ + ": zip64 end record");
    const auto signature = record.number<std::uint32_t>();
    const auto length = record.number<std::uint64_t>();  // of what follows this number
    if (signature != kZip64EndRecord || length != record.remaining()) {
      input_error("{}: no zip64 end record at byte {}", file_, record_at);
    }
    record.take(4);  // versions
    const auto record_disk = record.number<std::uint32_t>();
    const auto directory_disk = record.number<std::uint32_t>();
    const auto entries_here = record.number<std::uint64_t>();
    Directory directory;
    directory.entries = record.number<std::uint64_t>();
    directory.size_bytes = record.number<std::uint64_t>();
    directory.offset = record.number<std::uint64_t>();
    directory.end = record_at;
    if (disk != 0 || disks > 1 || record_disk != 0 || directory_disk != 0 ||
        entries_here != directory.entries) {
      input_error("{}: zip archives in several parts are not supported", file_);
    }
    return directory;
  }

  std::vector<CentralHeader> read_central_headers(const Directory& directory) const {
    const std::string what = file_ + ": zip central directory";
    ByteReader reader = range(directory.offset, directory.end, what);
    if (directory.size_bytes != reader.remaining()) {
      input_error("{}: expected {} bytes at byte {}, found {}", what, directory.size_bytes,
                  directory.offset, reader.remaining());
    }
    if (directory.entries > directory.size_bytes / kCentralHeaderBytes) {
      input_error("{}: {} entries do not fit into its {} bytes", what, directory.entries,
                  directory.size_bytes);
    }
    std::vector<CentralHeader> headers;
    headers.reserve(static_cast<std::size_t>(directory.entries));
    while (headers.size() < directory.entries) headers.push_back(read_central_header(reader));
    if (reader.remaining() != 0) {
      input_error("{}: {} bytes left behind its {} entries", what, reader.remaining(),
                  directory.entries);
    }
    return headers;
  }

  CentralHeader read_central_header(ByteReader& reader) const {
    const std::size_t at = reader.position();
    if (reader.number<std::uint32_t>() != kCentralHeader) {
      input_error("{}: no entry at byte {}", reader.what(), at);
    }
    CentralHeader header;
    reader.take(4);  // versions
    header.flags = reader.number<std::uint16_t>();
    header.method = reader.number<std::uint16_t>();
    reader.take(4);  // time, date
    header.crc32 = reader.number<std::uint32_t>();
    const auto compressed_bytes = reader.number<std::uint32_t>();
    const auto size_bytes = reader.number<std::uint32_t>();
    const auto name_bytes = reader.number<std::uint16_t>();
    const auto extra_bytes = reader.number<std::uint16_t>();
    const auto comment_bytes = reader.number<std::uint16_t>();
    const auto disk = reader.number<std::uint16_t>();
    reader.take(6);  // attributes
    const auto offset = reader.number<std::uint32_t>();
    header.name = reader.take_text(name_bytes);
    const std::string what = entry_text(header.name);
    Zip64Extra extra(reader.take_text(extra_bytes), what);
    reader.take(comment_bytes);
    header.size_bytes = extra.resolve(size_bytes);
    header.compressed_bytes = extra.resolve(compressed_bytes);
    header.offset = extra.resolve(offset);

    if ((header.flags & kEncryptedFlags) != 0) input_error("{}: is encrypted", what);
    if (header.method != kStored) {
      input_error("{}: is compressed, expected it stored as torch.save does", what);
    }
    if (header.compressed_bytes != header.size_bytes) {
      input_error("{}: {} bytes stored as {}", what, header.size_bytes, header.compressed_bytes);
    }
    if (disk != 0) input_error("{}: lies in another part of the archive", what);
    return header;
  }

  /// The data of an entry, once what stands before and behind it agrees with the central directory.
  Bytes locate(const CentralHeader& central, const std::string& what, std::uint64_t limit) const {
    ByteReader reader = range(central.offset, limit, what);
    if (reader.number<std::uint32_t>() != kLocalHeader) {
      input_error("{}: no header at byte {}", what, central.offset);
    }
    Header local;
    reader.take(2);  // version
    local.flags = reader.number<std::uint16_t>();
    local.method = reader.number<std::uint16_t>();
    reader.take(4);  // time, date
    local.crc32 = reader.number<std::uint32_t>();
    const auto compressed_bytes = reader.number<std::uint32_t>();
    const auto size_bytes = reader.number<std::uint32_t>();
    const auto name_bytes = reader.number<std::uint16_t>();
    const auto extra_bytes = reader.number<std::uint16_t>();
    local.name = reader.take_text(name_bytes);
    Zip64Extra extra(reader.take_text(extra_bytes), what);
    local.size_bytes = extra.resolve(size_bytes);
    local.compressed_bytes = extra.resolve(compressed_bytes);
    if (!agree(local, central)) input_error("{}: its header contradicts the directory", what);

    const Bytes data = reader.take(central.size_bytes);
    if ((central.flags & kDescriptorFlag) != 0 && !descriptor_agrees(reader, central)) {
      input_error("{}: what stands behind its data contradicts the directory", what);
    }
    return data;
  }

  /// Writers that learn sizes and checksum only afterwards leave zeros and add a descriptor.
  static bool agree(const Header& local, const Header& central) {
    const bool may_be_zero = (central.flags & kDescriptorFlag) != 0;
    const auto same = [may_be_zero](std::uint64_t value, std::uint64_t expected) {
      return value == expected || (may_be_zero && value == 0);
    };
    return local.name == central.name && local.flags == central.flags &&
           local.method == central.method && same(local.crc32, central.crc32) &&
           same(local.size_bytes, central.size_bytes) &&
           same(local.compressed_bytes, central.compressed_bytes);
  }

  /// Whether the reader stands before a data descriptor that says what the central directory says.
  /// Nothing but the values tells whether its sizes have 32 or 64 bits.
  static bool descriptor_agrees(ByteReader reader, const Header& central) {
    const auto wide_agrees = [&central](ByteReader sizes) {
      return sizes.remaining() >= 16 && sizes.number<std::uint64_t>() == central.size_bytes &&
             sizes.number<std::uint64_t>() == central.size_bytes;
    };
    const auto narrow_agrees = [&central](ByteReader sizes) {
      return sizes.remaining() >= 8 && sizes.number<std::uint32_t>() == central.size_bytes &&
             sizes.number<std::uint32_t>() == central.size_bytes;
    };
    return reader.remaining() >= 8 && reader.number<std::uint32_t>() == kDataDescriptor &&
           reader.number<std::uint32_t>() == central.crc32 &&
           (narrow_agrees(reader) || wide_agrees(reader));
  }

  Bytes bytes_;
  std::string file_;
};

}  // namespace

ZipEntries read_zip_entries(std::span<const std::byte> bytes, std::string_view file) {
  return ZipDirectoryReader(bytes, file).read();
}

}  // namespace longreach::model
