# How every target of the project is made: sources are all .cpp files of its folder and the folders below, includes
# start at the repository root, warnings and sanitizers are the same everywhere.

function(lr_target_defaults target)
  target_include_directories(${target} PUBLIC ${PROJECT_SOURCE_DIR})
  # Bits must not depend on what the compiler contracts: fused multiply-adds are written out.
  target_compile_options(${target} PRIVATE
    -ffp-contract=off
    -Wall -Wextra -Wpedantic -Wconversion -Wsign-conversion -Wshadow -Wold-style-cast
    -Wnon-virtual-dtor -Woverloaded-virtual -Wdouble-promotion
    $<$<BOOL:${LONGREACH_WERROR}>:-Werror>)
  if(LONGREACH_SANITIZE)
    target_compile_options(${target} PUBLIC -fsanitize=${LONGREACH_SANITIZE}
                           -fno-sanitize-recover=all -fno-omit-frame-pointer)
    target_link_options(${target} PUBLIC -fsanitize=${LONGREACH_SANITIZE})
  endif()
endfunction()

# lr_add_library(name folder [PUBLIC|PRIVATE libraries...])
function(lr_add_library name folder)
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/${folder}/*.cpp)
  list(FILTER sources EXCLUDE REGEX "/main\\.cpp$")
  file(GLOB_RECURSE headers CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/${folder}/*.hpp)
  if(NOT folder MATCHES "/base$") # a library of its own
    list(FILTER sources EXCLUDE REGEX "/${folder}/base/")
    list(FILTER headers EXCLUDE REGEX "/${folder}/base/")
  endif()
  add_library(longreach_${name} STATIC ${sources})
  # Headers that no .cpp file includes first (tests/layering_test.py) are compiled alone: all_verify_interface_header_sets.
  foreach(source IN LISTS sources)
    string(REGEX REPLACE "\\.cpp$" ".hpp" header ${source})
    list(REMOVE_ITEM headers ${header})
  endforeach()
  target_sources(longreach_${name} PUBLIC FILE_SET HEADERS BASE_DIRS ${PROJECT_SOURCE_DIR}
                 FILES ${headers})
  add_library(longreach::${name} ALIAS longreach_${name})
  target_link_libraries(longreach_${name} ${ARGN})
  lr_target_defaults(longreach_${name})
endfunction()

# lr_add_program(name folder libraries...): main.cpp of the folder, whose other sources are its library; the
# executable lands in the top of the build folder.
function(lr_add_program name folder)
  add_executable(${name} ${PROJECT_SOURCE_DIR}/${folder}/main.cpp)
  target_link_libraries(${name} PRIVATE ${ARGN})
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR})
  lr_target_defaults(${name})
endfunction()

# lr_compile_fast(target): tests compile as fast as they can: optimising them, and reading GoogleTest's header for every
# source, took half of the time of a build.
function(lr_compile_fast target)
  target_compile_options(${target} PRIVATE $<$<CONFIG:Release>:-O1>)
  target_precompile_headers(${target} PRIVATE <gtest/gtest.h>)
endfunction()

# lr_add_tests(folder libraries...): one program of all *_test.cpp under tests/<folder>.
function(lr_add_tests folder)
  file(GLOB sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/tests/${folder}/*_test.cpp)
  add_executable(${folder}_tests ${sources})
  target_link_libraries(${folder}_tests PRIVATE ${ARGN} source_folder GTest::gtest_main)
  lr_target_defaults(${folder}_tests)
  # Tests run over lists of small sizes written as plain numbers.
  target_compile_options(${folder}_tests PRIVATE -Wno-sign-conversion)
  lr_compile_fast(${folder}_tests)
  gtest_discover_tests(${folder}_tests PROPERTIES TIMEOUT 300 LABELS ${folder}
                       DISCOVERY_TIMEOUT 60)
endfunction()

# lr_add_program_tests(folder program): every *_test.py under tests/<folder>, which runs the program it is given.
function(lr_add_program_tests folder program)
  find_package(Python3 REQUIRED COMPONENTS Interpreter)
  file(GLOB scripts CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/tests/${folder}/*_test.py)
  foreach(script IN LISTS scripts)
    cmake_path(GET script STEM name)
    add_test(NAME ${folder}.${name} COMMAND Python3::Interpreter -B ${script} $<TARGET_FILE:${program}>)
    # The tests compare runs of one and two threads.
    set_tests_properties(${folder}.${name} PROPERTIES TIMEOUT 300 PROCESSORS 2 SKIP_RETURN_CODE 77
                         LABELS ${folder})
  endforeach()
endfunction()

# lr_add_mpi_tests(folder libraries...): one program of all *_test.cpp under tests/<folder>/mpi, run as jobs of several
# ranks. Not under the thread sanitizer, which reports what happens inside the MPI library; threads stand for ranks there.
function(lr_add_mpi_tests folder)
  if(LONGREACH_SANITIZE MATCHES thread)
    return()
  endif()
  file(GLOB sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/tests/${folder}/mpi/*_test.cpp)
  set(program ${folder}_mpi_tests)
  add_executable(${program} ${sources} ${PROJECT_SOURCE_DIR}/tests/support/mpi_main.cpp)
  target_link_libraries(${program} PRIVATE ${ARGN} source_folder GTest::gtest)
  lr_target_defaults(${program})
  target_compile_options(${program} PRIVATE -Wno-sign-conversion)
  lr_compile_fast(${program})
  set(launcher ${MPIEXEC_EXECUTABLE} --oversubscribe --bind-to none)
  foreach(n_ranks IN ITEMS 1 2 3 4 6 8)
    add_test(NAME ${folder}.mpi.${n_ranks} COMMAND ${launcher} -n ${n_ranks} $<TARGET_FILE:${program}>)
    list(APPEND tests ${folder}.mpi.${n_ranks})
  endforeach()
  add_test(NAME ${folder}.mpi.failing COMMAND ${launcher} -n 3 $<TARGET_FILE:${program}>
           --gtest_also_run_disabled_tests --gtest_filter=World.DISABLED_EndsWhenARankFailsAlone)
  list(APPEND tests ${folder}.mpi.failing)
  set_tests_properties(${folder}.mpi.failing PROPERTIES
    PASS_REGULAR_EXPRESSION "longreach: rank 1 on [^ ]+: out of luck")
  # Ranks without a core of their own must not hold one while they wait. What MPI keeps to its end is no leak of ours.
  set_tests_properties(${tests} PROPERTIES TIMEOUT 120 PROCESSORS 2 LABELS mpi ENVIRONMENT
    "OMPI_ALLOW_RUN_AS_ROOT=1;OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1;OMPI_MCA_mpi_yield_when_idle=1;\
ASAN_OPTIONS=detect_leaks=0")
endfunction()
