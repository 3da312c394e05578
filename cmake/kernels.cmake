# instructblip_kernels(TARGET): which kernel levels the library gets, and their compiler flags. A
# level that the compiler cannot make is left out; which one runs is decided on the user's machine
# (src/kernels/dispatch.cpp).
include(CheckCXXCompilerFlag)

function(instructblip_kernels target)
  set(avx2 "${PROJECT_SOURCE_DIR}/src/kernels/kernels_avx2.cpp")
  if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64|amd64)$")
    check_cxx_compiler_flag("-mavx2 -mfma" INSTRUCTBLIP_COMPILER_HAS_AVX2)
  endif()
  if(INSTRUCTBLIP_COMPILER_HAS_AVX2)
    set_source_files_properties("${avx2}" TARGET_DIRECTORY ${target}
                                PROPERTIES COMPILE_OPTIONS "-mavx2;-mfma")
    target_compile_definitions(${target} PRIVATE INSTRUCTBLIP_HAVE_AVX2=1)
  else()
    set_source_files_properties("${avx2}" TARGET_DIRECTORY ${target} PROPERTIES HEADER_FILE_ONLY ON)
  endif()
endfunction()
