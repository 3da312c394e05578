# instructblip_sanitize(TARGET): enables the address and undefined-behaviour sanitizers and the
# standard library's assertions if INSTRUCTBLIP_SANITIZE is set. The flags are PUBLIC because a
# program that links an instrumented library needs the runtime.
function(instructblip_sanitize target)
  if(INSTRUCTBLIP_SANITIZE)
    set(flags -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
              -D_GLIBCXX_ASSERTIONS)
    target_compile_options(${target} PUBLIC ${flags})
    if(INSTRUCTBLIP_BUILD_FUZZERS)  # libFuzzer is guided by counts of branches
      target_compile_options(${target} PUBLIC -fsanitize=fuzzer-no-link,float-cast-overflow)
    endif()
    target_link_options(${target} PUBLIC ${flags})
    # stb_image before 2.28 shifts by 32 if the data of a JPEG end early. The pixels are lost
    # anyway.
    set_source_files_properties("${PROJECT_SOURCE_DIR}/src/image_processing/stb.cpp"
                                PROPERTIES COMPILE_OPTIONS -fno-sanitize=shift)
  endif()
endfunction()
