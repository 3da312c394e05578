# instructblip_warnings(TARGET): the project's own warnings, as errors if INSTRUCTBLIP_WARNINGS_AS_ERRORS.
function(instructblip_warnings target)
  target_compile_options(${target} PRIVATE -Wall -Wextra -Wpedantic)
  if(INSTRUCTBLIP_WARNINGS_AS_ERRORS)
    target_compile_options(${target} PRIVATE -Werror)
  endif()
endfunction()
