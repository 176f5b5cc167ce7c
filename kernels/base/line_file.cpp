#include "kernels/base/line_file.hpp"

#include "kernels/base/error.hpp"
#include "kernels/base/lines.hpp"
#include "kernels/base/output_file.hpp"
#include "kernels/base/read_file.hpp"
#include "kernels/base/write_all.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <map>
#include <span>

namespace longreach::base {

LineFile::LineFile(const std::filesystem::path& name) : name_(name) {
  const OutputFile output(name_);
  if (!output.is_plain()) fail("not a regular file");
  path_ = output.target();
  constexpr int kHow = O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC;
  descriptor_ = ::open(path_.c_str(), kHow | O_EXCL, 0666);
  is_new_ = descriptor_ >= 0;
  if (!is_new_) descriptor_ = ::open(path_.c_str(), kHow, 0666);
  if (descriptor_ < 0) fail(std::strerror(errno));
  try {
    lock();
  } catch (...) {
    ::close(descriptor_);
    throw;
  }
}

LineFile::~LineFile() {
  if (is_new_ && n_bytes() == 0) ::unlink(path_.c_str());
  ::close(descriptor_);
}

off_t LineFile::n_bytes() const {
  struct stat status {};
  return ::fstat(descriptor_, &status) == 0 ? status.st_size : -1;
}

std::string LineFile::bytes() const {
  if (::lseek(descriptor_, 0, SEEK_SET) != 0) fail(std::strerror(errno));
  return read_descriptor(descriptor_, name_.string());
}

void LineFile::fail(std::string_view what) const {
  input_error("{}: cannot be written: {}", name_.string(), what);
}

void LineFile::lock() const {
  // A file system that has no locks does without.
  if (::flock(descriptor_, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
    fail("another run writes it");
  }
}

LineFile::Content LineFile::read() const {
  Content content{bytes(), {}};
  const std::size_t end = content.lines.rfind('\n');
  const std::size_t n_whole = end == std::string::npos ? 0 : end + 1;
  content.torn = content.lines.substr(n_whole);
  content.lines.resize(n_whole);
  return content;
}

void LineFile::truncate(std::size_t n_bytes) {
  if (::ftruncate(descriptor_, static_cast<off_t>(n_bytes)) != 0) fail(std::strerror(errno));
}

void LineFile::append(std::string_view line) {
  const off_t n_before = n_bytes();
  const std::string text = std::string(line) + "\n";
  const int error = write_all(descriptor_, std::as_bytes(std::span(text)));
  if (error == 0) return;
  truncate(static_cast<std::size_t>(n_before));
  fail(std::strerror(error));
}

void LineFile::sync() {
  if (::fsync(descriptor_) != 0) fail(std::strerror(errno));
}

void LineFile::sort(
    const std::function<std::size_t(std::size_t line, std::string_view text)>& key) {
  const std::string all = bytes();
  std::multimap<std::size_t, std::string_view> lines;
  for_lines(all, [&](std::size_t number, std::string_view line) {
    lines.emplace(key(number, line), line);
  });
  std::string text;
  for (const auto& [_, line] : lines) text.append(line) += '\n';
  write_file(path_, text);
}

}  // namespace longreach::base
