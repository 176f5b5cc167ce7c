#include "dist/comm/mpi_communicator.hpp"

#include "kernels/base/error.hpp"

#include <mpi.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <climits>
#include <cstdlib>
#include <exception>
#include <optional>
#include <utility>
#include <vector>

namespace longreach::dist {
namespace {

/// All messages between two ranks of a communicator have the same tag: they come in order.
constexpr int kTag = 0;

/// Much longer than thousands of ranks need once all have passed MPI_Init.
constexpr std::chrono::seconds kFirstContactLimit{30};

void check(const char* call, int code) {
  if (code == MPI_SUCCESS) return;
  std::array<char, MPI_MAX_ERROR_STRING> text{};
  int length = 0;
  if (MPI_Error_string(code, text.data(), &length) != MPI_SUCCESS) length = 0;
  throw CommunicationError(call, std::string(text.data(), static_cast<std::size_t>(length)));
}

/// The only way from a size to what MPI calls take.
int to_int(std::size_t n) {
  LR_CHECK(n <= static_cast<std::size_t>(INT_MAX));
  return static_cast<int>(n);
}

/// How MPI is told of a range of a buffer's bytes: as so many bytes at a displacement, or, where
/// that is more than an int may say, as one element of a type that knows where its bytes are.
class Piece {
 public:
  Piece(Range bytes, std::size_t largest_count) {
    if (bytes.size() == 0) return;
    if (bytes.end <= largest_count) {
      displacement = to_int(bytes.begin);
      count = to_int(bytes.size());
      return;
    }
    std::vector<int> lengths;
    std::vector<MPI_Aint> displacements;
    for (std::size_t at = bytes.begin; at < bytes.end; at += largest_count) {
      lengths.push_back(to_int(std::min(largest_count, bytes.end - at)));
      displacements.push_back(static_cast<MPI_Aint>(at));
    }
    count = 1;
    check("MPI_Type_create_hindexed",
          MPI_Type_create_hindexed(to_int(lengths.size()), lengths.data(), displacements.data(),
                                   MPI_BYTE, &type));
    check("MPI_Type_commit", MPI_Type_commit(&type));
  }
  // Calls under way keep the type alive for themselves.
  ~Piece() {
    if (type != MPI_BYTE) MPI_Type_free(&type);
  }
  Piece(const Piece&) = delete;
  Piece& operator=(const Piece&) = delete;
  Piece(Piece&& other) noexcept
      : displacement(other.displacement),
        count(other.count),
        type(std::exchange(other.type, MPI_BYTE)) {}
  Piece& operator=(Piece&&) = delete;

  int displacement = 0;
  int count = 0;
  MPI_Datatype type = MPI_BYTE;
};

/// The pieces of all ranks as MPI_Alltoallw takes them.
struct Pieces {
  Pieces(std::span<const Range> parts, std::size_t largest_count) {
    pieces.reserve(parts.size());
    for (const Range part : parts) {
      const Piece& piece = pieces.emplace_back(part, largest_count);
      counts.push_back(piece.count);
      displacements.push_back(piece.displacement);
      types.push_back(piece.type);
    }
  }

  std::vector<Piece> pieces;
  std::vector<int> counts, displacements;
  std::vector<MPI_Datatype> types;
};

class MpiMessage final : public Message {
 public:
  /// n_sent: the bytes of a message that is sent. Of one that is received its status tells them.
  MpiMessage(MPI_Request request, std::optional<std::size_t> n_sent)
      : request_(request), n_sent_(n_sent) {}

  // While an error ends the program nothing may wait; the bytes then go without MPI being told,
  // which is never called again but to end all ranks.
  ~MpiMessage() override {
    LR_CHECK(request_ == MPI_REQUEST_NULL || std::uncaught_exceptions() > 0);
  }

  bool done() override {
    if (request_ == MPI_REQUEST_NULL) return true;
    int is_done = 0;
    MPI_Status status;
    const int code = MPI_Test(&request_, &is_done, &status);
    if (code == MPI_SUCCESS && is_done == 0) return false;
    finish("MPI_Test", code, status);
    return true;
  }

  std::size_t wait() override {
    if (request_ != MPI_REQUEST_NULL) {
      MPI_Status status;
      const int code = MPI_Wait(&request_, &status);
      finish("MPI_Wait", code, status);
    }
    return n_bytes_;
  }

 private:
  void finish(const char* call, int code, const MPI_Status& status) {
    request_ = MPI_REQUEST_NULL;  // also of a failed one, which some libraries leave as it was
    check(call, code);
    if (n_sent_) {
      n_bytes_ = *n_sent_;
      return;
    }
    MPI_Count n_bytes = 0;
    check("MPI_Get_elements_x", MPI_Get_elements_x(&status, MPI_BYTE, &n_bytes));
    n_bytes_ = static_cast<std::size_t>(n_bytes);
  }

  MPI_Request request_;
  std::optional<std::size_t> n_sent_;
  std::size_t n_bytes_ = 0;
};

class MpiCommunicator final : public Communicator {
 public:
  /// Takes over `comm`, which is nobody else's.
  MpiCommunicator(MPI_Comm comm, std::size_t largest_count)
      : comm_(comm), largest_count_(largest_count) {
    check("MPI_Comm_set_errhandler", MPI_Comm_set_errhandler(comm_, MPI_ERRORS_RETURN));
    int rank = 0, size = 0;
    check("MPI_Comm_rank", MPI_Comm_rank(comm_, &rank));
    check("MPI_Comm_size", MPI_Comm_size(comm_, &size));
    rank_ = static_cast<std::size_t>(rank);
    size_ = static_cast<std::size_t>(size);
  }

  // Freeing is collective, so not while an error ends this rank alone: the others may never come.
  ~MpiCommunicator() override {
    if (std::uncaught_exceptions() == n_exceptions_) MPI_Comm_free(&comm_);
  }

  std::size_t rank() const override { return rank_; }
  std::size_t size() const override { return size_; }

  std::unique_ptr<Communicator> split(std::size_t color) override {
    MPI_Comm group = MPI_COMM_NULL;
    check("MPI_Comm_split", MPI_Comm_split(comm_, to_int(color), to_int(rank_), &group));
    return std::make_unique<MpiCommunicator>(group, largest_count_);
  }

  void all_gather(std::span<std::byte> all, std::span<const Range> parts) override {
    LR_DCHECK(parts.size() == size_);
    // The parts are the same everywhere, and so is this choice.
    if (std::ranges::max(parts, {}, &Range::end).end > largest_count_) {
      for (std::size_t root = 0; root < size_; ++root) {
        broadcast(all.subspan(parts[root].begin, parts[root].size()), root);
      }
      return;
    }
    std::vector<int> counts, displacements;
    for (const Range part : parts) {
      counts.push_back(to_int(part.size()));
      displacements.push_back(to_int(part.begin));
    }
    check("MPI_Allgatherv", MPI_Allgatherv(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, all.data(),
                                           counts.data(), displacements.data(), MPI_BYTE, comm_));
  }

  // Not MPI_Alltoallv: all its parts have one type, so a rank with parts beyond an int's reach
  // would have to agree with the others on another way. Here that is its own affair.
  void all_to_all(std::span<const std::byte> sent, std::span<const Range> sent_parts,
                  std::span<std::byte> received, std::span<const Range> received_parts) override {
    LR_DCHECK(sent_parts.size() == size_ && received_parts.size() == size_);
    const Pieces from(sent_parts, largest_count_), to(received_parts, largest_count_);
    check("MPI_Alltoallw", MPI_Alltoallw(sent.data(), from.counts.data(), from.displacements.data(),
                                         from.types.data(), received.data(), to.counts.data(),
                                         to.displacements.data(), to.types.data(), comm_));
  }

  void broadcast(std::span<std::byte> bytes, std::size_t root) override {
    const Piece piece({0, bytes.size()}, largest_count_);
    check("MPI_Bcast", MPI_Bcast(bytes.data(), piece.count, piece.type, to_int(root), comm_));
  }

  void barrier() override { check("MPI_Barrier", MPI_Barrier(comm_)); }

  std::unique_ptr<Message> send(std::span<const std::byte> bytes, std::size_t to) override {
    const Piece piece({0, bytes.size()}, largest_count_);
    MPI_Request request = MPI_REQUEST_NULL;
    check("MPI_Isend",
          MPI_Isend(bytes.data(), piece.count, piece.type, to_int(to), kTag, comm_, &request));
    return std::make_unique<MpiMessage>(request, bytes.size());
  }

  std::unique_ptr<Message> receive(std::span<std::byte> bytes, std::size_t from) override {
    const Piece piece({0, bytes.size()}, largest_count_);
    MPI_Request request = MPI_REQUEST_NULL;
    check("MPI_Irecv",
          MPI_Irecv(bytes.data(), piece.count, piece.type, to_int(from), kTag, comm_, &request));
    return std::make_unique<MpiMessage>(request, std::nullopt);
  }

 private:
  MPI_Comm comm_;
  std::size_t largest_count_;
  std::size_t rank_ = 0;
  std::size_t size_ = 1;
  int n_exceptions_ = std::uncaught_exceptions();
};

/// The first contact of all ranks. A rank for which MPI could not get all it needs, memory shared
/// with its neighbours for example, may look started and yet never be heard of by the others.
void meet_all() {
  using Clock = std::chrono::steady_clock;
  const Clock::time_point latest = Clock::now() + kFirstContactLimit;
  MPI_Request request = MPI_REQUEST_NULL;
  check("MPI_Ibarrier", MPI_Ibarrier(MPI_COMM_WORLD, &request));
  for (int is_done = 0; is_done == 0;) {
    check("MPI_Test", MPI_Test(&request, &is_done, MPI_STATUS_IGNORE));
    if (is_done == 0 && Clock::now() > latest) {
      throw CommunicationError("MPI_Ibarrier",
                               "the ranks were started but do not reach each other");
    }
  }
}

}  // namespace

void start_mpi() {
  int provided = MPI_THREAD_SINGLE;
  check("MPI_Init_thread", MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &provided));
  // Calls without a communicator report to the world's handler.
  check("MPI_Comm_set_errhandler", MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN));
  if (provided < MPI_THREAD_FUNNELED) {
    throw CommunicationError("MPI_Init_thread", "this MPI does not allow for other threads");
  }
  meet_all();
}

void finish_mpi() noexcept { MPI_Finalize(); }

void abort_mpi(int exit_code) noexcept {
  MPI_Abort(MPI_COMM_WORLD, exit_code);
  std::_Exit(exit_code);
}

std::unique_ptr<Communicator> mpi_communicator(std::size_t largest_count) {
  MPI_Comm comm = MPI_COMM_NULL;
  check("MPI_Comm_dup", MPI_Comm_dup(MPI_COMM_WORLD, &comm));
  return std::make_unique<MpiCommunicator>(comm, largest_count);
}

}  // namespace longreach::dist
