# Installs the library, unless the route uses its sources. Then configures, builds and runs one
# consumer.
function(run)
  execute_process(COMMAND ${ARGV} RESULT_VARIABLE result)
  if(NOT result EQUAL 0)
    list(JOIN ARGV " " command)
    message(FATAL_ERROR "failed (${result}): ${command}")
  endif()
endfunction()

file(REMOVE_RECURSE "${WORK}")
set(prefix "${WORK}/prefix")
set(arguments -DCMAKE_CXX_COMPILER=${COMPILER})
if(ROUTE STREQUAL "add_subdirectory")
  list(APPEND arguments -DINSTRUCTBLIP_SOURCE=${SOURCE} -DCMAKE_BUILD_TYPE=Debug
       -DCMAKE_CXX_FLAGS_DEBUG=-O0)
else()
  run("${CMAKE_COMMAND}" --install "${BUILD}" --prefix "${prefix}")
  list(APPEND arguments -DCMAKE_PREFIX_PATH=${prefix} -DCMAKE_BUILD_TYPE=Release)
  set(installed "${DOCDIR}/LICENSE")
  if(EXISTS "${BUILD}/examples/vqa")
    list(APPEND installed ${BINDIR}/caption ${BINDIR}/chat ${BINDIR}/features ${BINDIR}/inspect
         ${BINDIR}/vqa)
  endif()
  foreach(file IN LISTS installed)
    if(NOT EXISTS "${prefix}/${file}")
      message(FATAL_ERROR "cmake --install did not install ${file}")
    endif()
  endforeach()
endif()
if(ROUTE STREQUAL "find_package")
  list(APPEND arguments "-DCONSUMER_FLAGS=-march=native -fsanitize=address")
endif()
if(ROUTE STREQUAL "add_subdirectory")
  # Without a build type the library is optimised all the same.
  run("${CMAKE_COMMAND}" -S "${SOURCE}/tests/package/${ROUTE}" -B "${WORK}/no_build_type"
      -G "${GENERATOR}" -DCMAKE_CXX_COMPILER=${COMPILER} -DINSTRUCTBLIP_SOURCE=${SOURCE}
      -DCMAKE_EXPORT_COMPILE_COMMANDS=ON)
  file(STRINGS "${WORK}/no_build_type/compile_commands.json" commands
       REGEX "\"command\":.*instructblip(_sentencepiece)?\\.dir")
  list(LENGTH commands count)
  list(FILTER commands EXCLUDE REGEX " -O[23] ")
  if(count LESS 5 OR commands)
    message(FATAL_ERROR "of ${count} commands without a build type, not optimised: ${commands}")
  endif()
endif()
set(ENV{PKG_CONFIG_PATH} "${prefix}/${LIBDIR}/pkgconfig")
set(ENV{LD_LIBRARY_PATH} "${prefix}/${LIBDIR}")

run("${CMAKE_COMMAND}" -S "${SOURCE}/tests/package/${ROUTE}" -B "${WORK}/build" -G "${GENERATOR}"
    ${arguments})
run("${CMAKE_COMMAND}" --build "${WORK}/build" --target consumer --parallel 2)
if(ROUTE STREQUAL "programs")
  set(model "${SOURCE}/examples/assets/instructblip-demo")
  set(scenes "${SOURCE}/tests/end_to_end/fixtures/demo")
  run("${WORK}/build/captions" "${model}" "${SOURCE}/examples/assets/scene.png"
      "${scenes}/scene_000.png" "${scenes}/scene_001.png")
  run("${WORK}/build/retrieval" "${model}" "${SOURCE}/examples/assets/scene.png"
      "${scenes}/scene_000.png" "${scenes}/scene_001.png")
  run("${WORK}/build/forbid_words" "${model}" "${SOURCE}/examples/assets/scene.png"
      "how many red objects are there?" two)
elseif(ROUTE STREQUAL "sentencepiece")
  set(folder "${SOURCE}/tests/reference/fixtures/tokenization/llama_hub")
  run("${WORK}/build/consumer" "${folder}")
  run("${WORK}/build/pkg_config_consumer" "${folder}")
  # A build without the component says so.
  file(REMOVE "${prefix}/${LIBDIR}/cmake/instructblip/instructblip-sentencepiece-targets.cmake")
  execute_process(COMMAND "${CMAKE_COMMAND}" -S "${SOURCE}/tests/package/${ROUTE}"
      -B "${WORK}/without" -G "${GENERATOR}" ${arguments} RESULT_VARIABLE result
      OUTPUT_QUIET ERROR_VARIABLE message)
  string(REGEX REPLACE "[ \n]+" " " message "${message}")
  string(FIND "${message}" "This build has no component sentencepiece: install" found)
  if(result EQUAL 0 OR found EQUAL -1)
    message(FATAL_ERROR "without the component (${result}): ${message}")
  endif()
else()
  run("${WORK}/build/consumer")
endif()
