# instructblip_warnings(TARGET): the project's own warnings, as errors if
# INSTRUCTBLIP_WARNINGS_AS_ERRORS.
function(instructblip_warnings target)
  target_compile_options(${target} PRIVATE -Wall -Wextra -Wpedantic)
  # g++ 12 finds overlaps in every string concatenation that it inlines (GCC bug 105651).
  target_compile_options(${target} PRIVATE $<$<CXX_COMPILER_ID:GNU>:-Wno-restrict>)
  if(INSTRUCTBLIP_SANITIZE)  # whose checks make it lose sight of what was assigned
    target_compile_options(${target} PRIVATE $<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>)
  endif()
  if(INSTRUCTBLIP_WARNINGS_AS_ERRORS)
    target_compile_options(${target} PRIVATE -Werror)
  endif()
endfunction()
