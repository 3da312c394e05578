# instructblip_warnings(TARGET): enables the project's warnings, as errors if
# INSTRUCTBLIP_WARNINGS_AS_ERRORS is set.
function(instructblip_warnings target)
  target_compile_options(${target} PRIVATE -Wall -Wextra -Wpedantic)
  # g++ 12 falsely reports overlaps in inlined string concatenations (GCC bug 105651).
  target_compile_options(${target} PRIVATE $<$<CXX_COMPILER_ID:GNU>:-Wno-restrict>)
  if(INSTRUCTBLIP_SANITIZE)  # the sanitizers' checks cause false reports
    target_compile_options(${target} PRIVATE $<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>)
  endif()
  if(INSTRUCTBLIP_WARNINGS_AS_ERRORS)
    target_compile_options(${target} PRIVATE -Werror)
  endif()
endfunction()
