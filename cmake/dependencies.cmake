# Third-party code: found on the system. All of it is private to the compiled sources.
find_package(Threads REQUIRED)
find_package(Eigen3 3.4 REQUIRED NO_MODULE)
find_package(nlohmann_json 3.11 REQUIRED)
find_package(JPEG)
find_path(STB_INCLUDE_DIR NAMES stb/stb_image.h REQUIRED)
find_package(PkgConfig REQUIRED)
pkg_check_modules(UTF8PROC REQUIRED IMPORTED_TARGET libutf8proc)

function(instructblip_link_dependencies target)
  target_link_libraries(${target} PRIVATE
    Threads::Threads $<BUILD_INTERFACE:Eigen3::Eigen> $<BUILD_INTERFACE:nlohmann_json::nlohmann_json>
    PkgConfig::UTF8PROC)
  target_include_directories(${target} SYSTEM PRIVATE "${STB_INCLUDE_DIR}")
  if(JPEG_FOUND)
    target_link_libraries(${target} PRIVATE JPEG::JPEG)
    target_compile_definitions(${target} PRIVATE INSTRUCTBLIP_HAVE_JPEG=1)
  endif()
endfunction()
