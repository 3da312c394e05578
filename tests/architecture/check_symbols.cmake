# 1. The objects of a kernel level (kernels_<level>.cpp, <level>_*.cpp) are compiled for CPU
#    instructions that other machines lack. The linker could choose a weak symbol of such an object
#    for the whole program. Therefore only weak symbols in the level's Eigen_<level> namespace are
#    allowed, because no other object has these names.
# 2. No object has a symbol in the plain Eigen namespace, which a program may compile for other
#    instructions or another alignment.
# 3. A shared library exports only this library's names.
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
set(levels "")
foreach(object IN LISTS objects)
  if(object MATCHES "/kernels_([a-z0-9_]+)\\.cpp")
    list(APPEND levels ${CMAKE_MATCH_1})
  endif()
endforeach()
if(NOT levels)
  message(FATAL_ERROR "no kernels_<level>.cpp among the objects: ${objects}")
endif()
foreach(level IN LISTS levels)
  foreach(object IN LISTS objects)
    if(NOT object MATCHES "/(kernels_${level}\\.|${level}_)[^/]*$")
      continue()
    endif()
    get_filename_component(file "${object}" NAME)
    symbols(lines ${NM} -C --defined-only "${object}")
    foreach(line IN LISTS lines)
      if(line MATCHES "^[0-9a-f]+ [WVu] " AND NOT line MATCHES "Eigen_${level}::")
        list(APPEND faults "${file}: ${line}")
      endif()
    endforeach()
  endforeach()
endforeach()

foreach(object IN LISTS objects)
  symbols(lines ${NM} -C --defined-only "${object}")
  foreach(line IN LISTS lines)
    if(line MATCHES "[^A-Za-z_]Eigen::")
      get_filename_component(file "${object}" NAME)
      list(APPEND faults "${file}: ${line}")
    endif()
  endforeach()
endforeach()

if(LIBRARY MATCHES "\\.so")
  symbols(lines ${NM} -DC --defined-only "${LIBRARY}")
  foreach(line IN LISTS lines)
    # Weak instances of the standard library's templates occur in every program. Strong symbols
    # must belong to this library.
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
