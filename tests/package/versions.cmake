# Checks which versions of a package are used, with empty packages in place of the system's and of
# the fetched ones. SOURCE is the root of the repository, WORK a folder of this test.
include(CMakePackageConfigHelpers)
file(REMOVE_RECURSE "${WORK}")
file(WRITE "${WORK}/unpacked/stb_image.h" "")
set(unpacked "")
foreach(name EIGEN JSON STB CLI11 GOOGLETEST)
  list(APPEND unpacked "-DFETCHCONTENT_SOURCE_DIR_${name}=${WORK}/unpacked")
endforeach()

# expect(PACKAGE TARGET VERSION TEXT [OPTIONS...]): configures the library with this version of the
# package. The output of CMake must contain the text.
function(expect package target version text)
  set(folder "${WORK}/${package}-${version}")
  file(WRITE "${folder}/${package}Config.cmake" "
    add_library(${target} INTERFACE IMPORTED)
    set_target_properties(${target} PROPERTIES INTERFACE_INCLUDE_DIRECTORIES \"${folder}\")")
  write_basic_package_version_file("${folder}/${package}ConfigVersion.cmake" VERSION ${version}
                                   COMPATIBILITY SameMajorVersion ARCH_INDEPENDENT)
  execute_process(
    COMMAND "${CMAKE_COMMAND}" -S "${SOURCE}" -B "${WORK}/build" -G "${GENERATOR}"
      -DCMAKE_CXX_COMPILER=${COMPILER} -DINSTRUCTBLIP_BUILD_TESTS=OFF
      -DINSTRUCTBLIP_BUILD_EXAMPLES=OFF "-D${package}_DIR=${folder}" ${unpacked} ${ARGN}
    OUTPUT_VARIABLE output ERROR_VARIABLE output)
  string(REGEX REPLACE "[ \n]+" " " output "${output}")
  string(FIND "${output}" "${text}" position)
  if(position EQUAL -1)
    message(SEND_ERROR "${package} ${version}: \"${text}\" is not in the output: ${output}")
  endif()
endfunction()

foreach(version 3.3.9 6.0.0)
  set(refused "Eigen3 ${version} in ${WORK}/Eigen3-${version} is not used: needed is 3.4 or newer")
  expect(Eigen3 Eigen3::Eigen ${version} "${refused}")
  expect(Eigen3 Eigen3::Eigen ${version} "Eigen fetched")
  expect(Eigen3 Eigen3::Eigen ${version} "eigen was not found on the system in a version"
         -DINSTRUCTBLIP_FETCH_DEPENDENCIES=OFF)
  file(REMOVE_RECURSE "${WORK}/build")
endforeach()
foreach(version 3.4.0 3.4.90 5.0.1)
  expect(Eigen3 Eigen3::Eigen ${version} "Eigen system ${version}")
endforeach()
expect(nlohmann_json nlohmann_json::nlohmann_json 3.10.5 "nlohmann/json fetched")
expect(nlohmann_json nlohmann_json::nlohmann_json 3.11.0 "nlohmann/json system 3.11.0")
expect(GTest GTest::gtest_main 1.11.0 "needed is 1.12 or newer, below 2"
       -DINSTRUCTBLIP_BUILD_TESTS=ON)
expect(CLI11 CLI11::CLI11 2.0.0 "needed is 2.1 or newer, below 3" -DINSTRUCTBLIP_BUILD_EXAMPLES=ON)
