# Rules of `cmake --install`: the library, its headers, and files for find_package and pkg-config.
include(CMakePackageConfigHelpers)

install(TARGETS instructblip EXPORT instructblip_targets
        ARCHIVE DESTINATION "${CMAKE_INSTALL_LIBDIR}"
        LIBRARY DESTINATION "${CMAKE_INSTALL_LIBDIR}")
install(DIRECTORY "${PROJECT_SOURCE_DIR}/include/" DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}")
install(FILES "${PROJECT_SOURCE_DIR}/LICENSE" DESTINATION "${CMAKE_INSTALL_DOCDIR}")
install(EXPORT instructblip_targets NAMESPACE instructblip::
        FILE instructblip-targets.cmake DESTINATION "${CMAKE_INSTALL_LIBDIR}/cmake/instructblip")

if(TARGET instructblip_sentencepiece)  # a set of its own: not every program wants the component
  install(TARGETS instructblip_sentencepiece EXPORT instructblip_sentencepiece_targets
          ARCHIVE DESTINATION "${CMAKE_INSTALL_LIBDIR}"
          LIBRARY DESTINATION "${CMAKE_INSTALL_LIBDIR}")
  install(EXPORT instructblip_sentencepiece_targets NAMESPACE instructblip::
          FILE instructblip-sentencepiece-targets.cmake
          DESTINATION "${CMAKE_INSTALL_LIBDIR}/cmake/instructblip")
  install(FILES "${PROJECT_SOURCE_DIR}/cmake/FindSentencePiece.cmake"
          DESTINATION "${CMAKE_INSTALL_LIBDIR}/cmake/instructblip")
endif()

# Libraries that a program must link in addition to a static library.
get_target_property(instructblip_type instructblip TYPE)
set(INSTRUCTBLIP_NEEDS_JPEG OFF)
set(INSTRUCTBLIP_NEEDS_WEBP OFF)
set(instructblip_pc_requires "")
if(instructblip_type STREQUAL "STATIC_LIBRARY")
  if(JPEG_FOUND)
    set(INSTRUCTBLIP_NEEDS_JPEG ON)
    list(APPEND instructblip_pc_requires libjpeg)
  endif()
  if(TARGET PkgConfig::WEBP)
    set(INSTRUCTBLIP_NEEDS_WEBP ON)
    list(APPEND instructblip_pc_requires libwebpdemux libwebp)
  endif()
endif()
list(JOIN instructblip_pc_requires ", " INSTRUCTBLIP_PC_REQUIRES)
if(instructblip_type STREQUAL "STATIC_LIBRARY")
  set(INSTRUCTBLIP_PC_LIBS "-linstructblip -lstdc++ -lm -pthread")
else()
  set(INSTRUCTBLIP_PC_LIBS "-linstructblip")
endif()

configure_package_config_file(
  "${PROJECT_SOURCE_DIR}/cmake/instructblip-config.cmake.in"
  "${PROJECT_BINARY_DIR}/instructblip-config.cmake"
  INSTALL_DESTINATION "${CMAKE_INSTALL_LIBDIR}/cmake/instructblip")
write_basic_package_version_file("${PROJECT_BINARY_DIR}/instructblip-config-version.cmake"
                                 COMPATIBILITY SameMinorVersion)
install(FILES "${PROJECT_BINARY_DIR}/instructblip-config.cmake"
              "${PROJECT_BINARY_DIR}/instructblip-config-version.cmake"
        DESTINATION "${CMAKE_INSTALL_LIBDIR}/cmake/instructblip")

# A path relative to the .pc file, so that the installed tree can be moved.
file(RELATIVE_PATH INSTRUCTBLIP_PC_PREFIX "/prefix/${CMAKE_INSTALL_LIBDIR}/pkgconfig" "/prefix")
configure_file("${PROJECT_SOURCE_DIR}/cmake/instructblip.pc.in"
               "${PROJECT_BINARY_DIR}/instructblip.pc" @ONLY)
if(TARGET instructblip_sentencepiece)
  set(INSTRUCTBLIP_PC_SENTENCEPIECE "")
  if(instructblip_type STREQUAL "STATIC_LIBRARY")
    get_filename_component(instructblip_folder "${SentencePiece_LIBRARY}" DIRECTORY)
    set(INSTRUCTBLIP_PC_SENTENCEPIECE "-L${instructblip_folder} -lsentencepiece")
  endif()
  configure_file("${PROJECT_SOURCE_DIR}/cmake/instructblip-sentencepiece.pc.in"
                 "${PROJECT_BINARY_DIR}/instructblip-sentencepiece.pc" @ONLY)
  install(FILES "${PROJECT_BINARY_DIR}/instructblip-sentencepiece.pc"
          DESTINATION "${CMAKE_INSTALL_LIBDIR}/pkgconfig")
endif()
install(FILES "${PROJECT_BINARY_DIR}/instructblip.pc"
        DESTINATION "${CMAKE_INSTALL_LIBDIR}/pkgconfig")
