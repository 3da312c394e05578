# instructblip_kernels(TARGET): the kernel levels of the library. A level is a version of the
# kernels for one set of CPU instructions: src/kernels/kernels_<level>.cpp. A level that the
# compiler cannot build is left out; src/kernels/dispatch.cpp chooses one of the others at run time.
include(CheckCXXCompilerFlag)

function(instructblip_kernels target)
  #                         level       processor                   compiler flags
  set(x86 "^(x86_64|AMD64|amd64)$")
  set(arm "^(aarch64|arm64)$")
  set(avx512_flags -mavx512f -mavx512bw -mavx512dq -mavx512vl -mfma)
  set(avx512_vectors ${avx512_flags} -mprefer-vector-width=512)
  instructblip_kernel_level(eigen       ".*")
  instructblip_kernel_level(neon        "${arm}")
  instructblip_kernel_level(neon_dotprod "${arm}"                   -march=armv8.2-a+dotprod)
  instructblip_kernel_level(neon_bf16   "${arm}"                    -march=armv8.2-a+bf16+i8mm)
  instructblip_kernel_level(avx2        "${x86}"                    -mavx2 -mfma)
  instructblip_kernel_level(avx512      "${x86}"                    ${avx512_vectors})
  instructblip_kernel_level(avx512_vnni "${x86}"                    ${avx512_vectors} -mavx512vnni)
  instructblip_kernel_level(avx512_bf16 "${x86}"                    ${avx512_vectors} -mavx512bf16)
  instructblip_kernel_level(amx         "${x86}"                    ${avx512_flags} -mavx512bf16
                                                                    -mamx-tile -mamx-bf16 -mamx-int8
                                                                    -mprfchw)
endfunction()

# Sets the flags of one level's file. No function compiled with these flags may be visible to the
# linker, which could choose it for the whole program. Therefore -O3 inlines the standard library's
# functions, and Eigen's namespace is renamed per level. tests/architecture/check_symbols.cmake
# checks it.
macro(instructblip_kernel_level level processor)
  set(source "${PROJECT_SOURCE_DIR}/src/kernels/kernels_${level}.cpp")
  set(flags ${ARGN})
  string(TOUPPER ${level} name)
  string(JOIN " " checked_flags ${flags})
  if(NOT CMAKE_SYSTEM_PROCESSOR MATCHES "${processor}")
    set(INSTRUCTBLIP_COMPILER_HAS_${name} OFF)
  elseif(flags)
    check_cxx_compiler_flag("${checked_flags}" INSTRUCTBLIP_COMPILER_HAS_${name})
  else()
    set(INSTRUCTBLIP_COMPILER_HAS_${name} ON)
  endif()
  # False warnings about AVX-512 intrinsics (GCC bug 105593).
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND "${flags}" MATCHES "avx512")
    list(APPEND flags -Wno-uninitialized -Wno-maybe-uninitialized)
  endif()
  if(NOT INSTRUCTBLIP_SANITIZE)
    list(APPEND flags -O3)
  endif()
  if(INSTRUCTBLIP_COMPILER_HAS_${name})
    set_property(SOURCE "${PROJECT_SOURCE_DIR}/src/kernels/dispatch.cpp" TARGET_DIRECTORY ${target}
                 APPEND PROPERTY COMPILE_DEFINITIONS INSTRUCTBLIP_HAVE_${name}=1)
    set_source_files_properties("${source}" TARGET_DIRECTORY ${target} PROPERTIES
                                COMPILE_OPTIONS "${flags}" COMPILE_DEFINITIONS Eigen=Eigen_${level})
  else()
    set_source_files_properties("${source}" TARGET_DIRECTORY ${target}
                                PROPERTIES HEADER_FILE_ONLY ON)
  endif()
endmacro()
