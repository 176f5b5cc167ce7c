/// The instruction-set paths this program was built with, and the one in use. Dispatch, tests and
/// benchmarks all read this register.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace longreach::kernels {

/// Names of the paths that this CPU can run, fastest first: "amx", "avx512bf16", "avx512vnni",
/// "avx512", "avx2", "neon", "portable".
std::vector<std::string> available_isas();

/// The path in use, which the first call of this, of uses_..() or of select_isa() decides: call one
/// before the first kernel. It is the fastest one, unless select_isa or the environment variable
/// LONGREACH_ISA says otherwise. Errors: InputError when LONGREACH_ISA names a path that this CPU
/// cannot run.
std::string active_isa();

/// Whether products with int8 and int4 weights go by VNNI: the path "avx512vnni", which is "avx512"
/// in everything else, "avx512bf16", and "amx" where it has few rows. Errors: as active_isa().
bool uses_vnni();

/// Whether products of activations in bf16 go by the instruction for pairs of them: the path
/// "avx512bf16", which is "avx512vnni" in everything else. Errors: as active_isa().
bool uses_bf16_pairs();

/// Whether products go by AMX: the path "amx", which is the fastest other one in everything else.
/// That is so for bf16 weights packed from now on, and for int8 and int4 weights with many rows.
/// Errors: as active_isa().
bool uses_amx();

/// Makes every kernel use that path from now on. Not while kernels run.
/// Errors: InputError for a name that is not among available_isas().
void select_isa(std::string_view name);

}  // namespace longreach::kernels
