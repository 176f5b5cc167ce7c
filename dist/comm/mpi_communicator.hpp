/// Communicators over MPI, and the library's start and end. World (dist/comm/world.hpp) decides
/// when.
#pragma once

#include "dist/comm/communicator.hpp"

#include <cstddef>
#include <memory>

namespace longreach::dist {

/// Starts MPI, whose calls then all come from this thread. Once in a process, under a launcher.
/// Collective over the job. Errors: CommunicationError.
void start_mpi();

/// Ends MPI after all its communicators have gone. Collective over the job.
void finish_mpi() noexcept;

/// Ends all ranks of the job at once with this exit code.
[[noreturn]] void abort_mpi(int exit_code) noexcept;

/// Bytes that are told to MPI as a count and a displacement of type int. What reaches beyond is
/// described by types of blocks this long.
inline constexpr std::size_t kLargestMpiCount = std::size_t{1} << 30;

/// All ranks of the job in a communicator of their own. Parts and messages may have any length; a
/// smaller largest_count, the same on all ranks, lets tests see that with few bytes. Collective
/// over the job. Errors: CommunicationError.
std::unique_ptr<Communicator> mpi_communicator(std::size_t largest_count = kLargestMpiCount);

}  // namespace longreach::dist
