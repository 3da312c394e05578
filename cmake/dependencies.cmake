# Third-party code. Each package is taken from the system or, if it is not found there, fetched at a
# pinned commit; FETCHCONTENT_SOURCE_DIR_<NAME> names an unpacked copy to use instead. Only the
# library's sources include third-party headers, so a program that links the library does not need
# them. Two packages are found where they are used: sentencepiece, for the component of this name,
# in cmake/sentencepiece.cmake, and GoogleTest in tests/CMakeLists.txt.
include(FetchContent)
set(FETCHCONTENT_UPDATES_DISCONNECTED ON CACHE BOOL "Fetched sources are pinned")
option(INSTRUCTBLIP_FETCH_DEPENDENCIES "Fetch packages that are not installed" ON)
option(INSTRUCTBLIP_WITH_JPEG "Decode JPEG with libjpeg(-turbo) if found, else with stb_image" ON)

# instructblip_find(PACKAGE TARGET MINIMUM END): looks for a package on the system and sets
# <package>_IS_USED. Its version must be at least MINIMUM and below END. find_package is called
# without a version, because the version files of some packages (Eigen) accept no such range.
macro(instructblip_find package target minimum end)
  find_package(${package} QUIET NO_MODULE)
  set(${package}_IS_USED OFF)
  if(TARGET ${target})
    if("${${package}_VERSION}" STREQUAL "")  # a target of the project around this one
      set(${package}_IS_USED ON)
    elseif(${package}_VERSION VERSION_GREATER_EQUAL ${minimum} AND
           ${package}_VERSION VERSION_LESS ${end})
      set(${package}_IS_USED ON)
    else()
      message(STATUS "instructblip: ${package} ${${package}_VERSION} in ${${package}_DIR} is not "
                     "used: needed is ${minimum} or newer, below ${end}")
    endif()
  endif()
endmacro()

# instructblip_fetch(NAME REPOSITORY COMMIT): fetches a package and sets <name>_SOURCE_DIR. Builds
# nothing.
macro(instructblip_fetch name repository commit)
  if(NOT INSTRUCTBLIP_FETCH_DEPENDENCIES)
    message(FATAL_ERROR "${name} was not found on the system in a version that can be used. "
                        "Install it, or configure with -DINSTRUCTBLIP_FETCH_DEPENDENCIES=ON.")
  endif()
  message(STATUS "instructblip: fetching ${name} at ${commit}")
  # The package's own CMake project is not wanted. It is not added, as this folder does not exist.
  FetchContent_Declare(${name} GIT_REPOSITORY ${repository} GIT_TAG ${commit}
                       SOURCE_SUBDIR no_such_folder)
  FetchContent_MakeAvailable(${name})
  set(instructblip_${name}_origin "fetched")
endmacro()

find_package(Threads REQUIRED)

add_library(instructblip_headers INTERFACE)  # header-only packages: Eigen, nlohmann/json and stb

instructblip_find(Eigen3 Eigen3::Eigen 3.4 6)
if(Eigen3_IS_USED)
  set(instructblip_eigen_origin "system ${Eigen3_VERSION}")
  get_target_property(instructblip_eigen_include Eigen3::Eigen INTERFACE_INCLUDE_DIRECTORIES)
else()
  instructblip_fetch(eigen https://gitlab.com/libeigen/eigen.git
                     3147391d946bb4b6c68edd901f2add6ac1f31f8c)  # 3.4.0
  set(instructblip_eigen_include "${eigen_SOURCE_DIR}")
endif()

instructblip_find(nlohmann_json nlohmann_json::nlohmann_json 3.11 4)
if(nlohmann_json_IS_USED)
  set(instructblip_json_origin "system ${nlohmann_json_VERSION}")
  get_target_property(instructblip_json_include nlohmann_json::nlohmann_json
                      INTERFACE_INCLUDE_DIRECTORIES)
else()
  instructblip_fetch(json https://github.com/nlohmann/json.git
                     9cca280a4d0ccf0c08f47a99aa71d1b0e52f8d03)  # 3.11.3
  set(instructblip_json_include "${json_SOURCE_DIR}/include")
endif()

find_path(STB_INCLUDE_DIR NAMES stb/stb_image.h)
if(STB_INCLUDE_DIR)
  set(instructblip_stb_origin "system")
  set(instructblip_stb_include "${STB_INCLUDE_DIR}")
else()
  instructblip_fetch(stb https://github.com/nothings/stb.git
                     5736b15f7ea0ffb08dd38af21067c314d6a3aae9)  # stb_image 2.28
  foreach(header stb_image.h stb_image_write.h stb_easy_font.h)
    configure_file("${stb_SOURCE_DIR}/${header}" "${PROJECT_BINARY_DIR}/third_party/stb/${header}"
                   COPYONLY)
  endforeach()
  set(instructblip_stb_include "${PROJECT_BINARY_DIR}/third_party")
endif()

target_include_directories(instructblip_headers SYSTEM INTERFACE
  ${instructblip_eigen_include} ${instructblip_json_include} ${instructblip_stb_include})

if(INSTRUCTBLIP_WITH_JPEG)
  find_package(JPEG QUIET)
endif()

option(INSTRUCTBLIP_WITH_WEBP "Decode WebP with libwebp if found" ON)
if(INSTRUCTBLIP_WITH_WEBP)
  find_package(PkgConfig QUIET)
  if(PkgConfig_FOUND)
    pkg_check_modules(WEBP QUIET IMPORTED_TARGET libwebpdemux libwebp)
  endif()
endif()

# instructblip_link_dependencies(TARGET)
function(instructblip_link_dependencies target)
  target_link_libraries(${target} PRIVATE
    Threads::Threads $<BUILD_INTERFACE:instructblip_headers>)
  if(JPEG_FOUND)
    target_link_libraries(${target} PRIVATE JPEG::JPEG)
    target_compile_definitions(${target} PRIVATE INSTRUCTBLIP_HAVE_JPEG=1)
  endif()
  if(TARGET PkgConfig::WEBP)
    target_link_libraries(${target} PRIVATE PkgConfig::WEBP)
    target_compile_definitions(${target} PRIVATE INSTRUCTBLIP_HAVE_WEBP=1)
  endif()
endfunction()

function(instructblip_dependency_summary)
  if(JPEG_FOUND)
    set(jpeg "libjpeg ${JPEG_VERSION}")
  else()
    set(jpeg "stb_image (pixels may differ from Pillow's by a few steps)")
  endif()
  if(TARGET PkgConfig::WEBP)
    set(webp "libwebp ${WEBP_libwebp_VERSION}")
  else()
    set(webp "nothing (an error)")
  endif()
  message(STATUS "instructblip ${PROJECT_VERSION}: Eigen ${instructblip_eigen_origin}, "
                 "nlohmann/json ${instructblip_json_origin}, stb_image ${instructblip_stb_origin}, "
                 "JPEG by ${jpeg}, WebP by ${webp}")
endfunction()
