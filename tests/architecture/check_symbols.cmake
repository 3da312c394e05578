# 1. An object compiled with a CPU level's flags (kernels_<level>.cpp, <level>_*.cpp) has no weak
#    symbol outside the namespace of its level: the linker could choose it for the whole program,
#    which then dies on an older CPU.
# 2. A shared library exports nothing but this library's own names.
function(symbols out)
  execute_process(COMMAND ${ARGN} OUTPUT_VARIABLE text RESULT_VARIABLE result)
  if(NOT result EQUAL 0)
    message(FATAL_ERROR "nm failed: ${ARGN}")
  endif()
  string(REPLACE ";" ":" text "${text}")
  string(REPLACE "\n" ";" lines "${text}")
  set(${out} "${lines}" PARENT_SCOPE)
endfunction()

set(faults "")
string(REPLACE "|" ";" objects "${OBJECTS}")
foreach(object IN LISTS objects)
  get_filename_component(file "${object}" NAME)
  if(NOT file MATCHES "(avx2|avx512|amx|neon)")
    continue()
  endif()
  string(REGEX MATCH "(avx2|avx512|amx|neon)" level "${file}")
  symbols(lines ${NM} -C --defined-only "${object}")
  foreach(line IN LISTS lines)
    if(line MATCHES "^[0-9a-f]+ [WVu] (.*)$" AND
       NOT CMAKE_MATCH_1 MATCHES "instructblip::${level}::")
      list(APPEND faults "${file}: weak ${CMAKE_MATCH_1}")
    endif()
  endforeach()
endforeach()

if(LIBRARY MATCHES "\\.so")
  symbols(lines ${NM} -DC --defined-only "${LIBRARY}")
  foreach(line IN LISTS lines)
    # Weak instances of the standard library's templates are every program's own; strong ones must
    # be ours.
    if(line MATCHES "^[0-9a-f]+ [TDBR] (.*)$" AND
       NOT CMAKE_MATCH_1 MATCHES "instructblip|^_(init|fini)$")
      list(APPEND faults "exported: ${CMAKE_MATCH_1}")
    endif()
    if(line MATCHES "^[0-9a-f]+ [WVu] .*(Eigen::|nlohmann::|google::protobuf)")
      list(APPEND faults "exported: ${line}")
    endif()
  endforeach()
endif()

if(faults)
  list(JOIN faults "\n  " text)
  message(FATAL_ERROR "symbols that must not be there:\n  ${text}")
endif()
