# instructblip_sanitize(TARGET): address and undefined-behaviour sanitizers, if INSTRUCTBLIP_SANITIZE.
# PUBLIC, as every program that links an instrumented library needs the runtime.
function(instructblip_sanitize target)
  if(INSTRUCTBLIP_SANITIZE)
    set(flags -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer)
    target_compile_options(${target} PUBLIC ${flags})
    target_link_options(${target} PUBLIC ${flags})
  endif()
endfunction()
