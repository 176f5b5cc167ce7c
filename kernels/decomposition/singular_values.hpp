/// Singular values and vectors of matrices, by the LAPACK of OpenBLAS. For work done once, such as
/// converting a model; nothing that a model computes while it runs depends on it.
#pragma once

#include "kernels/base/view.hpp"

#include <cstddef>
#include <span>
#include <string>

namespace longreach::kernels {

/// W = U diag(s) V^T of a matrix W (n_out, n_in); k is the lesser of the two. Row-major.
struct SingularValues {
  base::Buffer<double> values;  ///< s (k), descending.
  base::Buffer<double> left;    ///< U (n_out, k), orthonormal columns.
  base::Buffer<double> right;   ///< V^T (k, n_in), orthonormal rows.
};

/// The library, loaded when one of these is made: it would otherwise cost every run its start, and
/// it reads its settings while it is loaded. They are one thread, which divides no sum, and kernels
/// for the instruction-set path in use, unless OPENBLAS_CORETYPE names others: it knows fewer CPUs
/// than there are, and takes its slowest kernels for new ones. So the same matrix gives the same
/// bits with one version of the library on all machines that use one path, but for the portable
/// one, which has no such kernels.
class Lapack {
 public:
  /// Errors: InputError if there is no such library; as active_isa().
  Lapack();

  /// What it computes by: "Haswell". The same for all that are made in a process.
  std::string core_type() const { return core_type_(); }

  /// Shapes: matrix (n_out, n_in), row-major; neither is 0.
  /// Numerics: backward stable in double: of a matrix that deviates from W by about eps |W|.
  /// Memory: about four times the matrix.   Threads: one, and one call at a time, as not every
  /// build of the library expects more. Requires: all numbers are finite.      Errors:
  /// std::bad_alloc. Source: LAPACK's dgesdd (divide and conquer).
  SingularValues decompose(std::span<const double> matrix, std::size_t n_out,
                           std::size_t n_in) const;

 private:
  using Decompose = void(const char* job, const int* rows, const int* cols, double* matrix,
                         const int* matrix_stride, double* values, double* left,
                         const int* left_stride, double* right, const int* right_stride,
                         double* work, const int* n_work, int* int_work, int* info,
                         std::size_t job_length);
  using CoreType = char*();

  Decompose* decompose_ = nullptr;
  CoreType* core_type_ = nullptr;
};

}  // namespace longreach::kernels
