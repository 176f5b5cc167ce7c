#include "kernels/base/output_file.hpp"

#include "kernels/base/error.hpp"
#include "kernels/base/write_all.hpp"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/vfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <utility>

namespace longreach::base {
namespace {

namespace fs = std::filesystem;

/// As many as Linux follows.
constexpr int kMaxLinks = 40;
constexpr std::size_t kLongestName = 255;
constexpr std::size_t kCopyBytes = 1 << 20;
constexpr mode_t kModeOfNewFiles = 0666;  // less what the user's mask takes away
constexpr auto kDescriptors = "/proc/self/fd";

/// Errors: the number of the system's error.
int status_of(const fs::path& path, struct stat& status) {
  return ::stat(path.c_str(), &status) == 0 ? 0 : errno;
}

int access_error(const fs::path& path, int wanted) {
  return ::faccessat(AT_FDCWD, path.c_str(), wanted, AT_EACCESS) == 0 ? 0 : errno;
}

/// Whether the folder lists this process's descriptors.
bool lists_descriptors(const fs::path& folder) {
  const fs::path process = fmt::format("/proc/{}", ::getpid());
  return folder == process / "fd" ||
         (folder.filename() == "fd" && folder.parent_path().parent_path() == process / "task");
}

bool is_on_proc(const fs::path& path) {
  struct statfs system {};
  return ::statfs(path.c_str(), &system) == 0 && system.f_type == PROC_SUPER_MAGIC;
}

std::optional<int> number_of(const std::string& text) {
  int number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

}  // namespace

std::optional<FileIdentity> identity_of(const fs::path& name) {
  struct stat status {};
  if (status_of(name, status) != 0) return std::nullopt;
  return FileIdentity{status.st_dev, status.st_ino, {}};
}

OutputFile::OutputFile(const fs::path& name) : name_(name) {
  resolve();
  struct stat status {};
  int error = descriptor_to_copy_ ? (::fstat(*descriptor_to_copy_, &status) == 0 ? 0 : errno)
                                  : status_of(target_, status);
  if (error == 0) {
    status_ = status;
    identity_ = {status.st_dev, status.st_ino, {}};
    if (S_ISDIR(status.st_mode)) fail(EISDIR);
    if (S_ISBLK(status.st_mode)) input_error("{}: cannot be written: a disk", name_.string());
    if (!descriptor_to_copy_) error = access_error(target_, W_OK);
  } else if (error == ENOENT) {
    const fs::path folder = target_.parent_path();
    struct stat folder_status {};
    error = status_of(folder, folder_status);
    identity_ = {folder_status.st_dev, folder_status.st_ino, target_.filename().string()};
    if (error == 0) error = access_error(folder, W_OK | X_OK);
  }
  if (error != 0) fail(error);
}

OutputFile::~OutputFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
}

void OutputFile::fail(int error) const {
  input_error("{}: cannot be written: {}", name_.string(), std::strerror(error));
}

void OutputFile::resolve() {
  fs::path name = name_;
  for (int n_links = 0; n_links < kMaxLinks; ++n_links) {
    if (!name.has_filename()) fail(EISDIR);
    std::error_code error;
    const fs::path folder = fs::canonical(name.has_parent_path() ? name.parent_path() : ".", error);
    if (error) fail(error.value());
    target_ = folder / name.filename();
    if (lists_descriptors(folder)) {
      descriptor_to_copy_ = number_of(name.filename().string());
      const int flags = descriptor_to_copy_ ? ::fcntl(*descriptor_to_copy_, F_GETFL) : -1;
      if (flags < 0 || (flags & O_ACCMODE) == O_RDONLY) fail(EBADF);
      return;
    }
    // What links of /proc say are not always names.
    if (!fs::is_symlink(target_, error) || is_on_proc(folder)) return;
    const fs::path next = fs::read_symlink(target_, error);
    if (error) fail(error.value());
    name = next.is_absolute() ? next : folder / next;
  }
  fail(ELOOP);
}

void OutputFile::open() {
  if (descriptor_ >= 0) return;
  if (descriptor_to_copy_) {
    descriptor_ = ::fcntl(*descriptor_to_copy_, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
  } else if (!is_plain() || !open_aside()) {
    descriptor_ = ::open(target_.c_str(), O_WRONLY | O_NOCTTY | O_CLOEXEC);
  }
  if (descriptor_ < 0) fail(errno);
}

fs::path OutputFile::temporary_name(int n) const {
  const std::string ending = fmt::format(".{}.{}.tmp", ::getpid(), n);
  const std::string name = target_.filename().string();
  return target_.parent_path() / (name.substr(0, kLongestName - ending.size()) + ending);
}

bool OutputFile::open_aside() {
  // Without a name, where the file system can: a run that is killed then leaves nothing behind.
  if (access_error(kDescriptors, X_OK) == 0) {
    descriptor_ =
        ::open(target_.parent_path().c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, kModeOfNewFiles);
  }
  for (int n = 0; descriptor_ < 0; ++n) {
    temporary_ = temporary_name(n);
    descriptor_ =
        ::open(temporary_.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, kModeOfNewFiles);
    if (descriptor_ < 0 && errno != EEXIST) {
      const int error = errno;
      temporary_.clear();
      if (!status_) fail(error);
      return false;
    }
  }
  is_aside_ = true;
  if (!status_) return true;
  struct stat made {};
  ::fstat(descriptor_, &made);
  const bool same_owner = made.st_uid == status_->st_uid && made.st_gid == status_->st_gid;
  keeps_file_ = status_->st_nlink > 1 ||
                (!same_owner && ::fchown(descriptor_, status_->st_uid, status_->st_gid) != 0) ||
                ::fchmod(descriptor_, status_->st_mode & 07777) != 0 ||
                ::getxattr(target_.c_str(), "system.posix_acl_access", nullptr, 0) > 0;
  return true;
}

void OutputFile::write(std::string_view bytes) { write_at(size_, std::as_bytes(std::span(bytes))); }

void OutputFile::write_at(std::size_t offset, std::span<const std::byte> bytes) {
  open();
  if (is_plain()) {
    if (const int error = write_all_at(descriptor_, offset, bytes); error != 0) fail(error);
    size_ = std::max(size_, offset + bytes.size());
    return;
  }
  if (offset != size_) {
    early_.emplace(offset, std::vector(bytes.begin(), bytes.end()));
    return;
  }
  write_in_order(bytes);
  for (auto next = early_.begin(); next != early_.end() && next->first == size_;
       next = early_.erase(next)) {
    write_in_order(next->second);
  }
}

void OutputFile::write_in_order(std::span<const std::byte> bytes) {
  if (const int error = write_all(descriptor_, bytes); error != 0) fail(error);
  size_ += bytes.size();
}

void OutputFile::finish() {
  open();
  LR_CHECK(early_.empty());
  if (is_aside_) {
    replace();
  } else if (is_plain() && ::ftruncate(descriptor_, static_cast<off_t>(size_)) != 0) {
    fail(errno);
  }
  if (::close(std::exchange(descriptor_, -1)) != 0) fail(errno);
}

void OutputFile::replace() {
  // So that whenever a run is killed one of the two is whole on the disk.
  if (::fsync(descriptor_) != 0) fail(errno);
  if (!keeps_file_) {
    give_name();
    if (::rename(temporary_.c_str(), target_.c_str()) == 0) {
      temporary_.clear();
      return;
    }
    if (!status_) fail(errno);  // else it cannot be replaced, as what is mounted cannot
  }
  copy_to_target();
  if (!temporary_.empty()) ::unlink(std::exchange(temporary_, {}).c_str());
}

void OutputFile::give_name() {
  const std::string nameless = fmt::format("{}/{}", kDescriptors, descriptor_);
  for (int n = 0; temporary_.empty(); ++n) {
    const fs::path name = temporary_name(n);
    if (::linkat(AT_FDCWD, nameless.c_str(), AT_FDCWD, name.c_str(), AT_SYMLINK_FOLLOW) == 0) {
      temporary_ = name;
    } else if (errno != EEXIST) {
      fail(errno);
    }
  }
}

void OutputFile::copy_to_target() const {
  const int target = ::open(target_.c_str(), O_WRONLY | O_CLOEXEC);
  if (target < 0) fail(errno);
  std::vector<std::byte> piece(std::min(size_, kCopyBytes));
  int error = 0;
  for (std::size_t at = 0; error == 0 && at < size_;) {
    const ssize_t n = ::pread(descriptor_, piece.data(), piece.size(), static_cast<off_t>(at));
    if (n <= 0) {
      if (n == 0 || errno != EINTR) error = n == 0 ? EIO : errno;
      continue;
    }
    const auto n_bytes = static_cast<std::size_t>(n);
    error = write_all_at(target, at, std::span(piece).first(n_bytes));
    at += n_bytes;
  }
  if (error == 0 && ::ftruncate(target, static_cast<off_t>(size_)) != 0) error = errno;
  if (::close(target) != 0 && error == 0) error = errno;
  if (error != 0) fail(error);
}

void write_file(const fs::path& name, std::string_view bytes) {
  OutputFile file(name);
  file.write(bytes);
  file.finish();
}

}  // namespace longreach::base
